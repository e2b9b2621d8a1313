//! Messages taken out of librdkafka many at a time, from a queue of our own. The only `unsafe` code of the crate.
//!
//! Refuses to know the group, and what becomes of a message. rdkafka polls one event for each message and reads the
//! clock four times for it; librdkafka's batch call works on queues that carry messages alone, so the queue of each
//! partition is forwarded to one of ours, and everything else stays in the queue that rdkafka polls.
//!
//! Why it is sound, by what `rdkafka.h` promises:
//! - [`Queue`] is the only owner of what `rd_kafka_queue_new` gave. It is destroyed once, when that is dropped, and
//!   before the client that it belongs to, of which it holds a share. The functions that take it may be called from any
//!   thread.
//! - Each pointer that `rd_kafka_consume_batch_queue` writes is ours until `rd_kafka_message_destroy`. [`Owned`] is made
//!   of it once, cannot be copied, and destroys it when it is dropped; it is never outside of its [`Batch`].
//! - Key, payload and headers stay where they are until then, and nobody writes to them. A [`Message`] borrows its
//!   `Batch`, which lets go of the message with the next call only, and holds a share of the client.
//! - A topic's pointer is compared with that of the message before it within one batch only: all messages of a batch
//!   held their topics when they were taken, so that no two topics had one address.
//!
//! What valgrind says to it stands in docs/testing.md.

use std::ffi::{CStr, CString, c_void};
use std::ptr::{self, NonNull};
use std::slice;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rdkafka::bindings as sys;
use rdkafka::consumer::{BaseConsumer, Consumer as _, ConsumerContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};

use crate::record::{Header, Offset, OwnedRecord, Partition, Record, TopicPartition};

/// A queue of messages, to which those of partitions are led.
pub struct Queue<C: ConsumerContext + 'static> {
    queue: NonNull<sys::rd_kafka_queue_t>,
    /// What librdkafka tells besides messages.
    others: NonNull<sys::rd_kafka_queue_t>,
    client: Arc<BaseConsumer<C>>,
}

// SAFETY: librdkafka's queues may be used from any thread, and the client is shared between threads already.
unsafe impl<C: ConsumerContext> Send for Queue<C> {}

impl<C: ConsumerContext> Queue<C> {
    /// An empty queue; `None` if the client is no consumer of a group.
    pub fn new(client: Arc<BaseConsumer<C>>) -> Option<Self> {
        let native = client.client().native_ptr();
        // SAFETY: the pointer is that of a living client; what comes back is ours.
        let (queue, others) =
            unsafe { (sys::rd_kafka_queue_new(native), sys::rd_kafka_queue_get_consumer(native)) };
        match (NonNull::new(queue), NonNull::new(others)) {
            (Some(queue), Some(others)) => Some(Queue { queue, others, client }),
            (queue, others) => {
                for queue in queue.into_iter().chain(others) {
                    // SAFETY: it was given to us above, and is used nowhere else.
                    unsafe { sys::rd_kafka_queue_destroy(queue.as_ptr()) };
                }
                None
            }
        }
    }

    /// Leads what is fetched of a partition here, from its next start on. To be called before it is assigned: that
    /// would lead it to the client's own queue otherwise. It ends when fetching stops.
    pub fn lead(&self, source: &TopicPartition) -> Result<(), KafkaError> {
        let unknown = KafkaError::MessageConsumption(RDKafkaErrorCode::UnknownPartition);
        let Ok(topic) = CString::new(&*source.topic) else { return Err(unknown) };
        let native = self.client.client().native_ptr();
        // SAFETY: the client lives, the name ends with a zero and is only read during the call.
        let own = unsafe { sys::rd_kafka_queue_get_partition(native, topic.as_ptr(), source.partition.0) };
        let own = NonNull::new(own).ok_or(unknown)?;
        // SAFETY: both queues live; forwarding keeps a reference of its own, so the handle can go.
        unsafe {
            sys::rd_kafka_queue_forward(own.as_ptr(), self.queue.as_ptr());
            sys::rd_kafka_queue_destroy(own.as_ptr());
        }
        Ok(())
    }

    /// Whether librdkafka has something else to tell than messages.
    pub fn has_others(&self) -> bool {
        // SAFETY: the queue lives.
        0 < unsafe { sys::rd_kafka_queue_length(self.others.as_ptr()) }
    }
}

impl<C: ConsumerContext> Drop for Queue<C> {
    fn drop(&mut self) {
        // SAFETY: they are ours, and nobody else has these pointers; the client still lives.
        unsafe {
            sys::rd_kafka_queue_destroy(self.queue.as_ptr());
            sys::rd_kafka_queue_destroy(self.others.as_ptr());
        }
    }
}

/// A message that is ours.
struct Owned(NonNull<sys::rd_kafka_message_t>);

impl Owned {
    fn get(&self) -> &sys::rd_kafka_message_t {
        // SAFETY: it lives until `self` is dropped, and nobody writes to it.
        unsafe { self.0.as_ref() }
    }
}

impl Drop for Owned {
    fn drop(&mut self) {
        // SAFETY: the pointer is ours alone, and not used after this.
        unsafe { sys::rd_kafka_message_destroy(self.0.as_ptr()) };
    }
}

/// Messages that were taken, in order.
pub struct Batch<C: ConsumerContext + 'static> {
    /// Not looked at yet; the next one is the last.
    waiting: Vec<Owned>,
    /// The one that was handed over last.
    current: Option<Owned>,
    /// The topic of that, and its name.
    topic: (*mut sys::rd_kafka_topic_t, String),
    /// Time at work in the queue, and time of waiting for a message, since they were last asked for.
    times: (Duration, Duration),
    /// Where librdkafka writes to.
    room: Vec<*mut sys::rd_kafka_message_t>,
    /// Dropped after the messages.
    queue: Queue<C>,
}

// SAFETY: messages belong to no thread, and a batch is never shared between two.
unsafe impl<C: ConsumerContext> Send for Batch<C> {}

impl<C: ConsumerContext> Batch<C> {
    pub fn new(queue: Queue<C>) -> Self {
        let topic = (ptr::null_mut(), String::new());
        let times = (Duration::ZERO, Duration::ZERO);
        Batch { waiting: Vec::new(), current: None, topic, times, room: Vec::new(), queue }
    }

    pub fn queue(&self) -> &Queue<C> {
        &self.queue
    }

    /// Messages that were not looked at yet.
    pub fn len(&self) -> usize {
        self.waiting.len()
    }

    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Takes what is at hand, at most so many messages, and waits for the first of them; nothing if some are still
    /// waiting here. Gives the bytes of all.
    pub fn take(&mut self, messages_max: usize, timeout: Duration) -> usize {
        if !self.waiting.is_empty() {
            return 0;
        }
        let begun = Instant::now();
        self.current = None;
        self.topic.0 = ptr::null_mut();
        self.room.clear();
        self.room.resize(messages_max, ptr::null_mut());
        // The call waits until all of its room is filled, so it is asked to wait for a single one.
        let mut taken = self.consume(0, 1, timeout);
        let came = Instant::now();
        if 0 < taken {
            taken += self.consume(taken, messages_max, Duration::ZERO);
        }
        let taken = self.room.get(..taken).unwrap_or_default();
        self.waiting.extend(taken.iter().rev().copied().filter_map(NonNull::new).map(Owned));
        let bytes = self.waiting.iter().map(|message| message.get().len).sum();
        self.times.0 += came.elapsed();
        self.times.1 += came - begun;
        bytes
    }

    /// Time at work in the queue, and time of waiting for a message, since the last call.
    pub fn take_times(&mut self) -> (Duration, Duration) {
        std::mem::take(&mut self.times)
    }

    /// Fills the room from `first` to before `next`, and gives how many messages came.
    fn consume(&mut self, first: usize, next: usize, timeout: Duration) -> usize {
        let Some(room) = self.room.get_mut(first..next) else { return 0 };
        let timeout_ms = i32::try_from(timeout.as_millis()).unwrap_or(i32::MAX);
        let queue = self.queue.queue.as_ptr();
        // SAFETY: the queue lives, and the room is as long as said.
        let taken =
            unsafe { sys::rd_kafka_consume_batch_queue(queue, timeout_ms, room.as_mut_ptr(), room.len()) };
        usize::try_from(taken).unwrap_or(0).min(room.len())
    }

    /// The oldest message that was not handed over yet, or the error that stands in its place.
    pub fn next(&mut self) -> Option<Result<Message<'_>, KafkaError>> {
        let native = self.current.insert(self.waiting.pop()?).get();
        if native.err == sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR__FATAL {
            return Some(Err(KafkaError::MessageConsumptionFatal(native.err.into())));
        }
        if native.err != sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR {
            return Some(Err(KafkaError::MessageConsumption(native.err.into())));
        }
        if native.rkt != self.topic.0 {
            // SAFETY: a message without an error holds its topic, whose name ends with a zero.
            let name = unsafe { CStr::from_ptr(sys::rd_kafka_topic_name(native.rkt)) };
            self.topic = (native.rkt, name.to_string_lossy().into_owned());
        }
        Some(Ok(Message { native, topic: &self.topic.1 }))
    }
}

/// One message in librdkafka's buffer.
pub struct Message<'a> {
    native: &'a sys::rd_kafka_message_t,
    topic: &'a str,
}

impl<'a> Message<'a> {
    pub fn record(&self) -> Record<'a> {
        let native = self.native;
        // SAFETY: the message lives; the kind of timestamp may be left out.
        let timestamp_ms = unsafe { sys::rd_kafka_message_timestamp(native, ptr::null_mut()) };
        Record {
            topic: self.topic,
            partition: Partition(native.partition),
            offset: Offset(native.offset),
            timestamp_ms: (timestamp_ms != -1).then_some(timestamp_ms),
            // SAFETY: pointers and lengths are librdkafka's own, and the bytes live as long as the message.
            key: unsafe { bytes(native.key, native.key_len) },
            // SAFETY: the same.
            payload: unsafe { bytes(native.payload, native.len) },
        }
    }

    /// A copy of the whole message.
    pub fn to_owned(&self) -> OwnedRecord {
        OwnedRecord::new(&self.record(), self.headers())
    }

    fn headers(&self) -> Vec<Header> {
        let mut all = Vec::new();
        let mut headers = ptr::null_mut();
        let none = sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR;
        // SAFETY: the message lives, and what comes back belongs to it.
        if unsafe { sys::rd_kafka_message_headers(self.native, &raw mut headers) } != none {
            return all;
        }
        let (mut name, mut value, mut length) = (ptr::null(), ptr::null(), 0);
        // SAFETY: the headers live as long as the message; the call says whether it has set all three.
        while unsafe {
            sys::rd_kafka_header_get_all(headers, all.len(), &raw mut name, &raw mut value, &raw mut length)
        } == none
        {
            // SAFETY: a header's name ends with a zero, and its value is as long as said.
            let (name, value) = unsafe { (CStr::from_ptr(name), bytes(value, length)) };
            all.push((name.to_string_lossy().into_owned(), value.map(<[u8]>::to_vec)));
        }
        all
    }
}

/// What librdkafka has at a place; nothing is a null pointer.
///
/// # Safety
/// `first` is null, or the first of `length` bytes that nobody writes to for as long as they are borrowed.
unsafe fn bytes<'a>(first: *const c_void, length: usize) -> Option<&'a [u8]> {
    // SAFETY: by the promise above.
    (!first.is_null()).then(|| unsafe { slice::from_raw_parts(first.cast(), length) })
}
