//! `watch`: a run's curves in the terminal.

use std::io::IsTerminal;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use autochrome_trainer::follow::{Doing, Run};
use ratatui::Frame;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEventKind, KeyModifiers};
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Style};
use ratatui::symbols::Marker;
use ratatui::widgets::{Axis, Block, Chart, Dataset, Gauge, GraphType, Paragraph};

/// How long the screen stays as it is without a key.
const REFRESH: Duration = Duration::from_millis(500);
const COLORS: [Color; 7] = [Color::Yellow, Color::Cyan, Color::Green, Color::Magenta, Color::Red, Color::Blue, Color::Gray];

/// Shows a run's curves, rates and newest evaluation while it goes on. `q` ends it; where there is no terminal, a summary is printed once.
#[derive(clap::Args)]
pub(crate) struct Watch {
    /// The run's folder.
    run: PathBuf,
}

impl Watch {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        let mut run = Run::open(&self.run)?;
        if !std::io::stdout().is_terminal() {
            println!("{}", run.summary());
            return Ok(());
        }
        let mut terminal = ratatui::try_init().context("take over the terminal")?;
        let ended = show(&mut terminal, &mut run);
        ratatui::try_restore().context("give the terminal back")?;
        println!("{}", run.summary());
        ended
    }
}

fn show(terminal: &mut ratatui::DefaultTerminal, run: &mut Run) -> anyhow::Result<()> {
    loop {
        terminal.draw(|frame| draw(frame, run)).context("draw")?;
        if event::poll(REFRESH).context("wait for a key")? && ends(&event::read().context("read a key")?) {
            return Ok(());
        }
        run.refresh()?;
    }
}

fn ends(event: &Event) -> bool {
    let Event::Key(key) = event else { return false };
    let interrupts = key.code == KeyCode::Char('c') && key.modifiers.contains(KeyModifiers::CONTROL);
    key.kind == KeyEventKind::Press && (interrupts || matches!(key.code, KeyCode::Char('q') | KeyCode::Esc))
}

fn draw(frame: &mut Frame, run: &Run) {
    let rows = [Constraint::Length(4), Constraint::Length(1), Constraint::Min(8), Constraint::Length(1)];
    let [head, gauge, curves, foot] = Layout::vertical(rows).areas(frame.area());
    let lines = [Some(run.headline()), Some(run.rates()), run.losses_now(), run.evaluation_now()];
    frame.render_widget(Paragraph::new(lines.into_iter().flatten().collect::<Vec<_>>().join("\n")), head);
    let color = if run.doing() == Doing::Stopped { Color::Red } else { Color::Green };
    let done = (run.step() as f64 / run.steps_total() as f64).clamp(0.0, 1.0);
    frame.render_widget(Gauge::default().gauge_style(Style::new().fg(color)).ratio(done), gauge);
    let losses: Vec<&str> = run.losses().map(String::as_str).collect();
    let qualities: Vec<&str> = ["gain_db", "colorfulness_share"].into_iter().filter(|name| run.series.contains_key(*name)).collect();
    // A curve needs two points.
    let drawn = |names: &[&str]| names.iter().any(|name| run.series[*name].len() > 1);
    match (drawn(&losses), drawn(&qualities)) {
        (true, true) => {
            let [left, right] = Layout::horizontal([Constraint::Percentage(62), Constraint::Percentage(38)]).areas(curves);
            chart(frame, left, "losses", &losses, run);
            chart(frame, right, "on validation pictures", &qualities, run);
        }
        (true, false) => chart(frame, curves, "losses", &losses, run),
        (false, true) => chart(frame, curves, "on validation pictures", &qualities, run),
        (false, false) => frame.render_widget(Paragraph::new("no curves yet").block(Block::bordered()), curves),
    }
    frame.render_widget(Paragraph::new("q: quit"), foot);
}

fn chart(frame: &mut Frame, area: Rect, title: &str, names: &[&str], run: &Run) {
    let points = || names.iter().flat_map(|name| &run.series[*name]);
    let (low, high) = points().fold((f64::MAX, f64::MIN), |(low, high), (_, value)| (low.min(*value), high.max(*value)));
    let (low, high) = if high > low { (low, high) } else { (low - 0.5, high + 0.5) };
    let last = points().map(|(step, _)| *step).fold(1.0, f64::max);
    let datasets = names.iter().zip(COLORS.iter().cycle()).map(|(name, color)| {
        Dataset::default()
            .name((*name).to_owned())
            .marker(Marker::Braille)
            .graph_type(GraphType::Line)
            .style(Style::new().fg(*color))
            .data(&run.series[*name])
    });
    let labels = |from: f64, to: f64, digits: usize| [from, (from + to) / 2.0, to].map(|value| format!("{value:.digits$}"));
    let chart = Chart::new(datasets.collect())
        .block(Block::bordered().title(title))
        .x_axis(Axis::default().bounds([0.0, last]).labels(labels(0.0, last, 0)))
        .y_axis(Axis::default().bounds([low, high]).labels(labels(low, high, 2)));
    frame.render_widget(chart, area);
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a panic is how a test reports")]
mod tests {
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;
    use ratatui::crossterm::event::KeyEvent;

    use super::*;

    fn drawn(log: &str) -> String {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("config.toml"), "name = \"small\"\nsteps = 100\n").unwrap();
        std::fs::write(folder.path().join("metrics.jsonl"), log).unwrap();
        let run = Run::open(folder.path()).unwrap();
        let mut terminal = Terminal::new(TestBackend::new(100, 30)).unwrap();
        terminal.draw(|frame| draw(frame, &run)).unwrap();
        let buffer = terminal.backend().buffer();
        (0..30).map(|y| (0..100).map(|x| buffer[(x, y)].symbol()).collect::<String>() + "\n").collect()
    }

    #[test]
    fn the_screen_shows_curves_as_soon_as_there_are_any() {
        let screen = drawn("");
        assert!(screen.contains("small: step 0 of 100") && screen.contains("no curves yet"), "{screen}");
        let line = |step: u32, loss: f64| format!("{{\"step\":{step},\"loss\":{loss},\"frames_per_s\":10.0}}\n");
        let screen = drawn(&(line(20, 3.75) + &line(40, 1.25)));
        for wanted in ["step 40 of 100 (40.0 %)", "10.0 frames/s", "losses", "3.75", "1.25", "q: quit"] {
            assert!(screen.contains(wanted), "{wanted:?} is missing:\n{screen}");
        }
        // Braille cells: the curve itself.
        assert!(screen.chars().filter(|c| ('\u{2801}'..='\u{28ff}').contains(c)).count() > 20, "{screen}");
        assert!(!screen.contains("on validation pictures"));
    }

    #[test]
    fn q_escape_and_control_c_end_it() {
        let key = |code, modifiers| Event::Key(KeyEvent::new(code, modifiers));
        assert!(ends(&key(KeyCode::Char('q'), KeyModifiers::NONE)) && ends(&key(KeyCode::Esc, KeyModifiers::NONE)));
        assert!(ends(&key(KeyCode::Char('c'), KeyModifiers::CONTROL)));
        assert!(!ends(&key(KeyCode::Char('c'), KeyModifiers::NONE)) && !ends(&Event::FocusLost));
    }
}
