//! Finds the rows for which a batch was refused, by inserting ever smaller pieces of it.
//!
//! Refuses to insert: it says which piece to try next and is told how that went. Every row ends up either
//! written with its piece or named as guilty, and the number of inserts is bounded. A search that was
//! interrupted goes on where it stood, so no piece is written twice and nothing is lost.

use std::ops::Range;

/// The search within one refused batch. `E` is what was said about a refused piece.
///
/// The leftmost guilty row is found by halving; then all rows after it are tried as one piece. A batch of
/// `n` rows with `k` guilty ones costs at most `k * (log2(n) + 1)` inserts.
#[derive(Debug)]
pub struct Bisect<E> {
    rows: usize,
    /// Where the pieces end that the batch falls into, if it has to be sent in several.
    ends: Vec<usize>,
    /// All rows before this one are settled, but for what is `refused`.
    settled: usize,
    /// What holds the leftmost guilty row, if it is known that there is one; all rows before are settled.
    refused: Option<(Range<usize>, E)>,
    /// The piece being tried.
    trying: Option<Range<usize>>,
    guilty: Vec<(usize, E)>,
    inserts_left: usize,
}

/// What to do next.
#[derive(Debug, PartialEq, Eq)]
pub enum Step {
    /// Insert these rows and tell [`Bisect::answer`].
    Insert(Range<usize>),
    /// [`Bisect::guilty`] names the guilty rows, all others are written.
    Done,
    /// The bound on inserts is reached. [`Bisect::allow`] lets the search go on where it stands.
    Paused,
}

impl<E> Bisect<E> {
    /// `rows` rows were refused as a whole with `error`; at most `inserts_max` more inserts may be spent.
    pub fn new(rows: usize, error: E, inserts_max: usize) -> Bisect<E> {
        let refused = Some((0..rows, error));
        let search = Bisect::pieces(vec![rows], inserts_max);
        Bisect { refused, ..search }
    }

    /// Nothing is refused yet: the batch is to be inserted in pieces that end at these rows.
    pub fn pieces(ends: Vec<usize>, inserts_max: usize) -> Bisect<E> {
        let rows = ends.last().copied().unwrap_or(0);
        Bisect {
            rows,
            ends,
            settled: 0,
            refused: None,
            trying: None,
            guilty: Vec::new(),
            inserts_left: inserts_max,
        }
    }

    /// The rows after those that are settled, as far as one insert may take them.
    fn rest(&self) -> Range<usize> {
        let end = self.ends.iter().find(|end| self.settled < **end);
        self.settled..end.map_or(self.rows, |end| *end)
    }

    /// The next step. Without an answer to [`Step::Insert`] the same piece comes again.
    pub fn step(&mut self) -> Step {
        // A piece whose insert failed for another reason is still to be tried.
        if let Some(piece) = &self.trying {
            return if self.inserts_left == 0 { Step::Paused } else { Step::Insert(piece.clone()) };
        }
        let piece = match self.refused.take() {
            Some((range, error)) if range.len() <= 1 => {
                self.settled = range.end;
                self.guilty.push((range.start, error));
                self.rest()
            }
            Some((range, error)) => {
                let left = range.start..range.start + range.len() / 2;
                self.refused = Some((range, error));
                left
            }
            None => self.rest(),
        };
        if piece.is_empty() {
            return Step::Done;
        }
        self.trying = Some(piece.clone());
        if self.inserts_left == 0 {
            return Step::Paused;
        }
        Step::Insert(piece)
    }

    /// The guilty rows found so far, in order.
    pub fn guilty(&self) -> &[(usize, E)] {
        &self.guilty
    }

    /// Allows this many more inserts from here on.
    pub fn allow(&mut self, inserts_max: usize) {
        self.inserts_left = inserts_max;
    }

    /// How the piece of the last step went: written, or refused with this error.
    pub fn answer(&mut self, result: Result<(), E>) {
        let Some(piece) = self.trying.take() else { return };
        self.inserts_left = self.inserts_left.saturating_sub(1);
        self.refused = match (self.refused.take(), result) {
            // The guilty row is not on the left, so it is on the right.
            (Some((range, error)), Ok(())) => Some((piece.end..range.end, error)),
            (None, Ok(())) => {
                self.settled = piece.end;
                None
            }
            (_, Err(error)) => Some((piece, error)),
        };
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    /// Guilty rows (`None`: given up), rows written, inserts spent.
    fn run(rows: usize, bad: &BTreeSet<usize>, max: usize) -> (Option<Vec<usize>>, Vec<usize>, usize) {
        let mut search = Bisect::new(rows, (), max);
        let (mut written, mut inserts) = (Vec::new(), 0);
        let guilty = loop {
            match search.step() {
                Step::Insert(piece) => {
                    inserts += 1;
                    let refused = bad.range(piece.clone()).next().is_some();
                    if !refused {
                        written.extend(piece);
                    }
                    search.answer(if refused { Err(()) } else { Ok(()) });
                }
                Step::Done => break Some(search.guilty().iter().map(|(row, ())| *row).collect()),
                Step::Paused => break None,
            }
        };
        written.sort_unstable();
        (guilty, written, inserts)
    }

    proptest! {
        #[test]
        fn every_row_is_written_once_or_guilty(
            rows in 1usize..300,
            picks in prop::collection::vec(any::<prop::sample::Index>(), 1..6),
        ) {
            let bad: BTreeSet<usize> = picks.iter().map(|i| i.index(rows)).collect();
            let (guilty, written, _) = run(rows, &bad, usize::MAX);
            prop_assert_eq!(guilty.unwrap(), bad.iter().copied().collect::<Vec<_>>());
            prop_assert_eq!(written, (0..rows).filter(|row| !bad.contains(row)).collect::<Vec<_>>());
        }

        #[test]
        fn pieces_are_never_crossed(
            lengths in prop::collection::vec(1usize..40, 1..10),
            picks in prop::collection::vec(any::<prop::sample::Index>(), 0..6),
        ) {
            let mut sum = 0;
            let ends: Vec<usize> = lengths.iter().map(|n| { sum += n; sum }).collect();
            let bad: BTreeSet<usize> = picks.iter().map(|i| i.index(sum)).collect();
            let mut search = Bisect::pieces(ends.clone(), usize::MAX);
            let mut written = Vec::new();
            while let Step::Insert(piece) = search.step() {
                prop_assert!(!ends.iter().any(|end| piece.start < *end && *end < piece.end), "{piece:?}");
                let refused = bad.range(piece.clone()).next().is_some();
                if !refused {
                    written.extend(piece);
                }
                search.answer(if refused { Err(()) } else { Ok(()) });
            }
            let guilty: Vec<usize> = search.guilty().iter().map(|(row, ())| *row).collect();
            prop_assert_eq!(guilty, bad.iter().copied().collect::<Vec<_>>());
            prop_assert_eq!(written, (0..sum).filter(|row| !bad.contains(row)).collect::<Vec<_>>());
        }
    }

    #[test]
    fn the_number_of_inserts_is_bounded() {
        let (guilty, _, inserts) = run(100_000, &[7, 50_000, 99_999].into(), 64);
        assert_eq!(guilty.unwrap(), [7, 50_000, 99_999]);
        assert!(inserts <= 64, "{inserts}");
        let (guilty, _, inserts) = run(1000, &(0..1000).collect(), 64);
        assert_eq!((guilty, inserts), (None, 64));
    }

    #[test]
    fn an_interrupted_search_goes_on_where_it_stood() {
        let bad: BTreeSet<usize> = [3, 4, 77].into();
        let mut search = Bisect::new(100, (), 5);
        let (mut written, mut fails) = (Vec::new(), 0);
        let guilty = loop {
            match search.step() {
                // Every second insert fails for a reason that says nothing about the rows.
                Step::Insert(_)
                    if {
                        fails += 1;
                        fails % 2 == 1
                    } => {}
                Step::Insert(piece) if bad.range(piece.clone()).next().is_some() => search.answer(Err(())),
                Step::Insert(piece) => {
                    written.extend(piece);
                    search.answer(Ok(()));
                }
                Step::Paused => search.allow(5),
                Step::Done => break search.guilty().to_vec(),
            }
        };
        assert_eq!(guilty.into_iter().map(|(row, ())| row).collect::<Vec<_>>(), [3, 4, 77]);
        written.sort_unstable();
        assert_eq!(written, (0..100).filter(|row| !bad.contains(row)).collect::<Vec<_>>(), "each once");
    }
}
