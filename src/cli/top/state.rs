//! What is shown at the moment: the newest summary, and which part of it.
//!
//! Refuses to draw.

use std::sync::Arc;
use std::time::Instant;

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyEventKind, KeyModifiers};

use crate::app::top::News;
use crate::app::top::summary::{Partition, Summary};

/// A part of the summary that fills the lower half.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum View {
    #[default]
    Problems,
    Partitions,
    Pods,
    Tables,
    Jobs,
    Timeline,
}

impl View {
    pub const ALL: [View; 6] =
        [View::Problems, View::Partitions, View::Pods, View::Tables, View::Jobs, View::Timeline];

    pub fn name(self) -> &'static str {
        match self {
            View::Problems => "Problems",
            View::Partitions => "Partitions",
            View::Pods => "Pods",
            View::Tables => "Tables",
            View::Jobs => "Jobs",
            View::Timeline => "Timeline",
        }
    }

    fn step(self, forward: bool) -> View {
        let at = View::ALL.iter().position(|view| *view == self).unwrap_or(0);
        let count = View::ALL.len();
        let next = if forward { at + 1 } else { at + count - 1 };
        View::ALL.get(next % count).copied().unwrap_or_default()
    }
}

/// How partitions are sorted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Sort {
    #[default]
    Age,
    Records,
    Name,
}

impl Sort {
    pub fn name(self) -> &'static str {
        match self {
            Sort::Age => "age",
            Sort::Records => "records",
            Sort::Name => "name",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flow {
    On,
    End,
}

#[derive(Default)]
pub struct State {
    pub summary: Option<Arc<Summary>>,
    pub fault: Option<String>,
    /// When the summary came that is shown.
    pub came_at: Option<Instant>,
    pub view: View,
    pub sort: Sort,
    /// Rows that are scrolled over.
    pub scrolled: usize,
    pub has_help: bool,
}

impl State {
    pub fn take(&mut self, news: News, now: Instant) {
        let is_new = match (&news.summary, &self.summary) {
            (Some(new), Some(old)) => !Arc::ptr_eq(new, old),
            (new, _) => new.is_some(),
        };
        if is_new {
            self.came_at = Some(now);
            self.summary = news.summary;
        }
        self.fault = news.fault;
    }

    pub fn press(&mut self, key: KeyEvent) -> Flow {
        if key.kind == KeyEventKind::Release {
            return Flow::On;
        }
        let is_interrupt = key.code == KeyCode::Char('c') && key.modifiers.contains(KeyModifiers::CONTROL);
        if is_interrupt || matches!(key.code, KeyCode::Char('q')) {
            return Flow::End;
        }
        if self.has_help {
            self.has_help = false;
            return Flow::On;
        }
        match key.code {
            KeyCode::Esc => return Flow::End,
            KeyCode::Char('?') => self.has_help = true,
            KeyCode::Char('s') => {
                self.sort = match self.sort {
                    Sort::Age => Sort::Records,
                    Sort::Records => Sort::Name,
                    Sort::Name => Sort::Age,
                };
            }
            KeyCode::Right | KeyCode::Tab => self.go(self.view.step(true)),
            KeyCode::Left | KeyCode::BackTab => self.go(self.view.step(false)),
            KeyCode::Down => self.scrolled = self.scrolled.saturating_add(1),
            KeyCode::Up => self.scrolled = self.scrolled.saturating_sub(1),
            KeyCode::PageDown => self.scrolled = self.scrolled.saturating_add(10),
            KeyCode::PageUp => self.scrolled = self.scrolled.saturating_sub(10),
            KeyCode::Home => self.scrolled = 0,
            _ => {}
        }
        Flow::On
    }

    fn go(&mut self, view: View) {
        (self.view, self.scrolled) = (view, 0);
    }

    pub fn partitions<'s>(&self, summary: &'s Summary) -> Vec<&'s Partition> {
        let mut all: Vec<&Partition> = summary.partitions.iter().collect();
        match self.sort {
            // It comes so.
            Sort::Age => {}
            Sort::Records => all.sort_by_key(|one| std::cmp::Reverse(one.lag_records)),
            Sort::Name => all.sort_by(|a, b| (&a.topic, a.partition).cmp(&(&b.topic, b.partition))),
        }
        all
    }
}
