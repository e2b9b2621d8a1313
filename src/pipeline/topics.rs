//! What is asked of the brokers about the topics before the first record is read.
//!
//! Refuses to start on a topic that is not there, its dead-letter topic included; all else is only told.

use super::start::{Parts, Topics, blocking};
use super::{Error, series};
use crate::dead_letter;
use crate::kafka::admin::{Purpose, check_topics};

/// Checks that every topic and its dead-letter topic exists, and tells what else the brokers say of them.
pub async fn check(parts: &Parts, topics: &Topics) -> Result<(), Error> {
    let mut all = Vec::new();
    for (topic, _) in topics {
        all.push((topic.to_string(), Purpose::Source));
        let letters = (parts.dead_letter.topic_for(topic), Purpose::DeadLetters);
        if !all.contains(&letters) {
            all.push(letters);
        }
    }
    let (kafka, checked) = (parts.kafka.clone(), all.clone());
    let counts = blocking(move || check_topics(&kafka, &checked)).await?;
    series::tell_of_topics(&parts.kafka, &all, &counts).await;
    let pairs = topics.iter().map(|(topic, _)| topic.to_string());
    let pairs: Vec<_> = pairs.map(|topic| (parts.dead_letter.topic_for(&topic), topic)).collect();
    dead_letter::topic::warn_of_small(&parts.kafka, &pairs).await;
    Ok(())
}
