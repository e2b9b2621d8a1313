//! How the summary is drawn on a terminal of any size.
//!
//! Refuses to know keys and where the summary comes from. Narrow terminals lose columns, never the verdict; colour is never
//! the only signal.

use std::time::Instant;

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span, Text};
use ratatui::widgets::{Block, Borders, Clear, Paragraph, Row, Sparkline, Table, Wrap};

use super::state::{State, View};
use super::text::{bytes, flow, number, plain, rate, sign, time};
use crate::app::top::summary::{Level, Severity, Summary};

/// From this width on there is room for every column.
const WIDE: u16 = 90;
/// An older summary is said to be old.
const STALE_S: u64 = 3;
const KEYS: &str = " ←→ view  ↑↓ scroll  s sort  ? keys  q end";
const HELP: &str = "\
 ← →  Tab      another view
 ↑ ↓  PgUp PgDn  scroll
 Home          to the top
 s             sort partitions: age, records, name
 ?             these keys
 q  Esc        end

 Any key goes back.";

pub fn draw(frame: &mut Frame<'_>, state: &State, now: Instant) {
    let area = frame.area();
    let Some(summary) = &state.summary else {
        let why = state.fault.as_deref().unwrap_or("waiting for the first answer");
        frame.render_widget(Paragraph::new(plain(why)).wrap(Wrap { trim: true }), area);
        return;
    };
    let is_wide = WIDE <= area.width;
    let head = head(summary, state, now);
    let head_rows = rows_of(&head, area.width).min(area.height / 3 + 1);
    let figures = figures(summary, is_wide);
    let figure_rows = u16::try_from(figures.lines.len()).unwrap_or(u16::MAX);
    let spark_rows = if 24 <= area.height { 4 } else { 0 };
    let parts = [
        Constraint::Length(head_rows),
        Constraint::Length(figure_rows),
        Constraint::Length(spark_rows),
        Constraint::Min(3),
        Constraint::Length(1),
    ];
    let [head_area, figure_area, spark_area, body_area, foot_area] = Layout::vertical(parts).areas(area);
    frame.render_widget(Paragraph::new(head).wrap(Wrap { trim: true }), head_area);
    frame.render_widget(Paragraph::new(figures), figure_area);
    if 0 < spark_rows {
        sparks(frame, summary, spark_area);
    }
    body(frame, summary, state, body_area);
    frame.render_widget(Paragraph::new(KEYS).style(dim()), foot_area);
    if state.has_help {
        help(frame, area);
    }
}

fn dim() -> Style {
    Style::new().add_modifier(Modifier::DIM)
}

fn bold() -> Style {
    Style::new().add_modifier(Modifier::BOLD)
}

fn colour(level: Level) -> Style {
    let colour = match level {
        Level::Healthy => Color::Green,
        Level::Attention | Level::Unknown => Color::Yellow,
        Level::Paused | Level::Failing => Color::Red,
    };
    Style::new().fg(colour)
}

fn head<'a>(summary: &Summary, state: &State, now: Instant) -> Text<'a> {
    let verdict = &summary.verdict;
    let name = format!("{} {}  {}", plain(&summary.name), summary.version, summary.at);
    let word = format!("[{}] ", sign(verdict.level));
    let mut lines = vec![
        Line::styled(name, dim()),
        Line::from(vec![
            Span::styled(word, colour(verdict.level).patch(bold())),
            Span::styled(plain(&verdict.sentence), colour(verdict.level)),
        ]),
    ];
    if let Some(what) = &verdict.what_to_do {
        let runbook = verdict.runbook.as_ref().map(|name| format!(" [{name}]")).unwrap_or_default();
        lines.push(Line::from(format!("    {}{runbook}", plain(what))));
    }
    let age_s = state.came_at.map_or(0, |at| now.saturating_duration_since(at).as_secs());
    if STALE_S < age_s {
        let why = state.fault.as_deref().and_then(|fault| fault.lines().next()).unwrap_or("no answer");
        lines.push(Line::styled(format!("!!! {age_s} s old: {}", plain(why)), colour(Level::Failing)));
    }
    Text::from(lines)
}

/// Rows that a text takes when its lines are wrapped.
fn rows_of(text: &Text<'_>, width: u16) -> u16 {
    let width = usize::from(width.max(1));
    let rows: usize = text.lines.iter().map(|line| line.width().div_ceil(width).max(1)).sum();
    u16::try_from(rows).unwrap_or(u16::MAX)
}

fn figures<'a>(summary: &Summary, is_wide: bool) -> Text<'a> {
    let totals = &summary.totals;
    let letters = totals.dead_letters_per_min.map_or_else(|| "-".to_owned(), |n| format!("{n:.0}/min"));
    let rates = format!("in {}  out {}", rate(totals.in_records_per_s), rate(totals.out_rows_per_s));
    let p99 = format!("p99 {}", time(totals.e2e_p99_s));
    let lag = format!("lag {} ({})", time(totals.lag_s), number(totals.lag_records));
    let rest = format!("dead letters {letters}  lost {}", totals.lost_records);
    let memory = &summary.flow.memory;
    let memory = format!("memory {}/{}", bytes(memory.used_bytes), bytes(memory.budget_bytes));
    let mut lines = match is_wide {
        true => vec![Line::styled(format!("{rates}  {p99}  {lag}  {rest}"), bold())],
        false => vec![Line::styled(rates, bold()), Line::from(format!("{p99}  {lag}")), Line::from(rest)],
    };
    lines.push(Line::from(flow(summary)));
    let gates = summary.flow.gates.iter().filter(|gate| gate.state != "open");
    let gates: Vec<String> = gates.map(|gate| format!("{} {}", plain(&gate.endpoint), gate.state)).collect();
    let gates = if gates.is_empty() { "gates open".to_owned() } else { gates.join(", ") };
    let flushes = summary.flow.flushes.iter().take(3);
    let flushes: Vec<String> =
        flushes.map(|one| format!("{} {:.0}%", plain(&one.trigger), one.ratio * 100.0)).collect();
    lines.push(Line::from(format!("{memory}  {gates}  {}", flushes.join(" "))));
    Text::from(lines)
}

/// The last quarter of an hour.
fn sparks(frame: &mut Frame<'_>, summary: &Summary, area: Rect) {
    let [left, right] = Layout::horizontal([Constraint::Percentage(50); 2]).areas(area);
    let width = usize::from(left.width.saturating_sub(2));
    let newest = |of: fn(&crate::app::top::summary::Point) -> Option<f64>| -> Vec<u64> {
        let skipped = summary.history.len().saturating_sub(width);
        summary.history.iter().skip(skipped).map(|point| tenths(of(point))).collect()
    };
    let rates = newest(|point| point.records_per_s);
    let lags = newest(|point| point.lag_s);
    let block = |title: &'static str| Block::new().borders(Borders::ALL).title(title).border_style(dim());
    frame.render_widget(Sparkline::default().data(&rates).block(block("records/s, 15 min")), left);
    frame.render_widget(Sparkline::default().data(&lags).block(block("lag, 15 min")), right);
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // Cut at both ends.
fn tenths(value: Option<f64>) -> u64 {
    (value.unwrap_or(0.0).clamp(0.0, 1e15) * 10.0) as u64
}

fn body(frame: &mut Frame<'_>, summary: &Summary, state: &State, area: Rect) {
    let tabs = View::ALL.iter().map(|view| {
        let count = match view {
            View::Problems => summary.problems.len(),
            View::Pods => summary.pods.len(),
            _ => 0,
        };
        let name =
            if 0 < count { format!(" {} {count} ", view.name()) } else { format!(" {} ", view.name()) };
        let chosen = Style::new().add_modifier(Modifier::REVERSED);
        Span::styled(name, if *view == state.view { chosen } else { dim() })
    });
    let title = Line::from_iter(tabs);
    let block = Block::new().borders(Borders::TOP).title(title);
    let inner = block.inner(area);
    frame.render_widget(block, area);
    match state.view {
        View::Problems => problems(frame, summary, state, inner),
        View::Partitions => partitions(frame, summary, state, inner),
        View::Pods => pods(frame, summary, state, inner),
        View::Tables => tables(frame, summary, state, inner),
        View::Jobs => jobs(frame, summary, state, inner),
        View::Timeline => timeline(frame, summary, state, inner),
    }
}

fn problems(frame: &mut Frame<'_>, summary: &Summary, state: &State, area: Rect) {
    let mut lines = Vec::new();
    for problem in summary.problems.iter().skip(state.scrolled) {
        let (mark, style) = match problem.severity {
            Severity::Critical => ("!! ", colour(Level::Failing)),
            Severity::Warning => ("!  ", colour(Level::Attention)),
            Severity::Info => ("-  ", Style::new()),
        };
        let sentence = format!("{} (since {})", plain(&problem.sentence), problem.since);
        lines.push(Line::from(vec![Span::styled(mark, style.patch(bold())), Span::styled(sentence, style)]));
        let runbook = problem.runbook.as_ref().map(|name| format!(" [{name}]")).unwrap_or_default();
        lines.push(Line::from(format!("   {}{runbook}", plain(&problem.what_to_do))));
    }
    if summary.problems.is_empty() {
        lines.push(Line::from("none"));
    }
    frame.render_widget(Paragraph::new(lines).wrap(Wrap { trim: false }), area);
}

/// Columns with their widths; those that are only for wide terminals come last.
type Columns<'c> = &'c [(&'c str, Constraint)];

fn table(frame: &mut Frame<'_>, columns: Columns<'_>, rows: Vec<Vec<String>>, area: Rect) {
    let head = Row::new(columns.iter().map(|(name, _)| (*name).to_owned())).style(bold());
    let widths = columns.iter().map(|(_, width)| *width);
    let rows = rows.into_iter().map(|cells| Row::new(cells.into_iter().take(columns.len())));
    frame.render_widget(Table::new(rows, widths).header(head), area);
}

/// The first columns alone where there is no room for all.
fn fitting<'c>(all: Columns<'c>, narrow: usize, area: Rect) -> Columns<'c> {
    if WIDE <= area.width { all } else { all.get(..narrow).unwrap_or(all) }
}

fn partitions(frame: &mut Frame<'_>, summary: &Summary, state: &State, area: Rect) {
    let by = format!("partition (by {})", state.sort.name());
    let columns = [
        (by.as_str(), Constraint::Fill(2)),
        ("lag", Constraint::Length(9)),
        ("records", Constraint::Length(12)),
        ("done in", Constraint::Length(9)),
        ("paused", Constraint::Length(20)),
        ("pod", Constraint::Fill(1)),
    ];
    let rows = state.partitions(summary).into_iter().skip(state.scrolled).map(|one| {
        vec![
            format!("{}/{}", plain(&one.topic), one.partition),
            time(one.lag_s),
            number(one.lag_records),
            time(one.catch_up_s),
            one.paused.clone().unwrap_or_default(),
            plain(&one.pod),
        ]
    });
    table(frame, fitting(&columns, 3, area), rows.collect(), area);
}

fn pods(frame: &mut Frame<'_>, summary: &Summary, state: &State, area: Rect) {
    let columns = [
        ("pod", Constraint::Fill(1)),
        ("state", Constraint::Length(10)),
        ("in", Constraint::Length(9)),
        ("out", Constraint::Length(9)),
        ("lag", Constraint::Length(8)),
        ("partitions", Constraint::Length(10)),
        ("version", Constraint::Length(10)),
        ("heard", Constraint::Length(8)),
    ];
    let rows = summary.pods.iter().skip(state.scrolled).map(|pod| {
        vec![
            plain(&pod.address),
            if pod.reachable { plain(&pod.state) } else { "silent".to_owned() },
            rate(pod.in_records_per_s),
            rate(pod.out_rows_per_s),
            time(pod.lag_s),
            pod.partitions.to_string(),
            plain(&pod.version),
            time(pod.age_s),
        ]
    });
    table(frame, fitting(&columns, 3, area), rows.collect(), area);
}

fn tables(frame: &mut Frame<'_>, summary: &Summary, state: &State, area: Rect) {
    let columns = [
        ("table", Constraint::Fill(1)),
        ("rows", Constraint::Length(10)),
        ("insert p99", Constraint::Length(10)),
        ("batch", Constraint::Length(10)),
        ("parts", Constraint::Length(12)),
        ("delivery", Constraint::Length(24)),
    ];
    let rows = summary.tables.iter().skip(state.scrolled).map(|one| {
        vec![
            plain(&one.table),
            rate(one.rows_per_s),
            time(one.insert_p99_s),
            one.batch_rows.map_or_else(|| "-".to_owned(), |rows| format!("{rows:.0}")),
            format!("{}/{}", number(one.parts), number(one.parts_limit)),
            one.delivery.clone().unwrap_or_default(),
        ]
    });
    table(frame, fitting(&columns, 3, area), rows.collect(), area);
}

fn jobs(frame: &mut Frame<'_>, summary: &Summary, state: &State, area: Rect) {
    let columns = [
        ("job", Constraint::Fill(1)),
        ("state", Constraint::Length(10)),
        ("done", Constraint::Length(6)),
        ("by", Constraint::Length(16)),
        ("begun", Constraint::Length(24)),
    ];
    let rows = summary.jobs.iter().skip(state.scrolled).map(|job| {
        let progress = job.progress.map_or_else(String::new, |ratio| format!("{:.0} %", ratio * 100.0));
        vec![plain(&job.action), job.state.clone(), progress, plain(&job.actor), job.started_at.clone()]
    });
    table(frame, fitting(&columns, 3, area), rows.collect(), area);
}

fn timeline(frame: &mut Frame<'_>, summary: &Summary, state: &State, area: Rect) {
    let lines = summary.timeline.iter().skip(state.scrolled);
    let lines =
        lines.map(|event| Line::from(format!("{} {}: {}", event.at, event.kind, plain(&event.sentence))));
    frame.render_widget(Paragraph::new(Text::from_iter(lines)).wrap(Wrap { trim: false }), area);
}

fn help(frame: &mut Frame<'_>, area: Rect) {
    let (width, height) = (52.min(area.width), 10.min(area.height));
    let x = area.x + (area.width - width) / 2;
    let y = area.y + (area.height - height) / 2;
    let inside = Rect { x, y, width, height };
    frame.render_widget(Clear, inside);
    frame.render_widget(Paragraph::new(HELP).block(Block::new().borders(Borders::ALL).title("Keys")), inside);
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use ratatui::Terminal;
    use ratatui::backend::TestBackend;
    use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

    use super::super::state::Flow;
    use super::*;
    use crate::app::top::News;
    use crate::app::top::summary::{Event, JobLine, Partition, Pod, Point, Problem, Stage, Totals, Verdict};

    fn summary() -> Summary {
        let partition = |n, lag_s, lag_records| Partition {
            topic: "events".to_owned(),
            partition: n,
            pod: "10.0.0.1:9464".to_owned(),
            lag_s: Some(lag_s),
            lag_records: Some(lag_records),
            ..Partition::default()
        };
        let stage = |name: &str, ratio| Stage { name: name.to_owned(), busy_ratio: Some(ratio) };
        let verdict = Verdict {
            level: Level::Paused,
            sentence: "Paused: table events: ClickHouse rejects inserts, \u{1b}[31mnothing lost".to_owned(),
            what_to_do: Some("See why ClickHouse refuses.".to_owned()),
            runbook: Some("PenstockStalled".to_owned()),
            ..Verdict::default()
        };
        let mut summary = Summary {
            name: "prod-eu".to_owned(),
            verdict,
            totals: Totals {
                in_records_per_s: Some(182_000.0),
                lag_s: Some(88.0),
                lag_records: Some(41_210),
                ..Totals::default()
            },
            history: (0..180)
                .map(|n| Point { records_per_s: Some(f64::from(n)), ..Point::default() })
                .collect(),
            partitions: vec![partition(7, 88.0, 10), partition(1, 3.0, 41_200)],
            pods: vec![Pod { address: "10.0.0.1:9464".to_owned(), ..Pod::default() }],
            problems: vec![Problem {
                sentence: "it is so".to_owned(),
                what_to_do: "do this".to_owned(),
                ..Problem::default()
            }],
            jobs: vec![JobLine {
                action: "backup.create".to_owned(),
                progress: Some(0.62),
                ..JobLine::default()
            }],
            timeline: vec![Event {
                kind: "pod".to_owned(),
                sentence: "pod a is there".to_owned(),
                ..Event::default()
            }],
            ..Summary::default()
        };
        summary.flow.stages = vec![stage("decode", 0.64), stage("insert", 0.97)];
        summary.flow.bottleneck = Some("insert".to_owned());
        summary
    }

    fn state() -> State {
        let mut state = State::default();
        state.take(News { summary: Some(Arc::new(summary())), fault: None }, Instant::now());
        state
    }

    fn drawn(state: &State, (width, height): (u16, u16), now: Instant) -> String {
        let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
        terminal.draw(|frame| draw(frame, state, now)).unwrap();
        let cells: Vec<&str> =
            terminal.backend().buffer().content().iter().map(|cell| cell.symbol()).collect();
        cells.chunks(usize::from(width)).map(|row| row.concat() + "\n").collect()
    }

    fn press(state: &mut State, code: KeyCode) -> Flow {
        state.press(KeyEvent::new(code, KeyModifiers::NONE))
    }

    #[test]
    fn the_verdict_comes_first_on_any_terminal_and_nothing_steers_it() {
        for size in [(200, 60), (120, 40), (80, 24), (40, 20), (20, 8), (5, 3), (1, 1)] {
            let text = drawn(&state(), size, Instant::now());
            assert!(!text.contains('\u{1b}'), "{text}");
            if 20 <= size.0 {
                assert!(text.contains("[||] Paused"), "{size:?}\n{text}");
            }
        }
        let text = drawn(&state(), (120, 40), Instant::now());
        for wanted in [
            "prod-eu",
            "See why ClickHouse refuses. [PenstockStalled]",
            "in 182k/s",
            "lag 88 s (41 210)",
            "decode 64%  insert 97% <- bottleneck",
            "Problems 1",
            "it is so",
            "do this",
            "records/s, 15 min",
            "q end",
        ] {
            assert!(text.contains(wanted), "{wanted}\n{text}");
        }
    }

    #[test]
    fn keys_change_the_view_the_order_and_end_it() {
        let mut state = state();
        press(&mut state, KeyCode::Right);
        let by_age = drawn(&state, (120, 40), Instant::now());
        assert!(by_age.find("events/7").unwrap() < by_age.find("events/1").unwrap(), "{by_age}");
        press(&mut state, KeyCode::Char('s'));
        let by_records = drawn(&state, (120, 40), Instant::now());
        assert!(by_records.find("events/1").unwrap() < by_records.find("events/7").unwrap(), "{by_records}");
        press(&mut state, KeyCode::Down);
        assert!(!drawn(&state, (120, 40), Instant::now()).contains("events/1 "), "scrolled away");
        for (view, wanted) in
            [("pods", "silent"), ("tables", "insert p99"), ("jobs", "62 %"), ("timeline", "pod a is there")]
        {
            press(&mut state, KeyCode::Right);
            let text = drawn(&state, (120, 40), Instant::now());
            assert!(text.contains(wanted), "{view}\n{text}");
        }
        press(&mut state, KeyCode::Char('?'));
        assert!(drawn(&state, (80, 24), Instant::now()).contains("Any key goes back"));
        press(&mut state, KeyCode::Down);
        assert!(!state.has_help);
        assert_eq!(press(&mut state, KeyCode::Char('q')), Flow::End);
        assert_eq!(state.press(KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL)), Flow::End);
    }

    #[test]
    fn what_is_old_is_said_to_be_old() {
        let mut state = state();
        state.take(
            News {
                summary: state.summary.clone(),
                fault: Some("a:9480 does not answer\nhint: x".to_owned()),
            },
            Instant::now(),
        );
        let now = Instant::now();
        assert!(!drawn(&state, (120, 40), now).contains("s old"));
        let text = drawn(&state, (120, 40), now + Duration::from_secs(12));
        assert!(text.contains("!!! 12 s old: a:9480 does not answer"), "{text}");
        let empty = State { fault: Some("no answer".to_owned()), ..State::default() };
        assert!(drawn(&empty, (40, 10), now).contains("no answer"));
    }
}
