//! Arithmetic of several objectives. Everywhere less is better, a point is a slice with one value for each
//! objective, and values may be infinite but not NaN.

use std::cmp::Ordering;

/// Whether `one` is nowhere worse than `other` and better somewhere.
pub fn dominates(one: &[f64], other: &[f64]) -> bool {
    let nowhere_worse = one.iter().zip(other).all(|(one, other)| one <= other);
    nowhere_worse && one.iter().zip(other).any(|(one, other)| one < other)
}

/// Indices of the points that no point dominates, rising. Equal points are all in it.
pub fn front<P: AsRef<[f64]>>(points: &[P]) -> Vec<usize> {
    let ranks = ranks(points, 1);
    (0..points.len()).filter(|index| ranks[*index] == 0).collect()
}

/// The non-domination rank of each point, from 0: the front, what is the front without it, and so on
/// (Deb et al. 2002). Once `at_least` points are ranked, all others share the next rank,
/// unless there is but one objective.
pub fn ranks<P: AsRef<[f64]>>(points: &[P], at_least: usize) -> Vec<usize> {
    let Distinct { points: distinct, of } = Distinct::of(points);
    if distinct.first().is_some_and(|point| point.len() == 1) {
        return of;
    }
    let at_least = at_least.min(distinct.len());
    let mut distinct_ranks = vec![0; distinct.len()];
    let mut rest: Vec<usize> = (0..distinct.len()).collect();
    let mut rank = 0;
    while distinct.len() - rest.len() < at_least {
        let (front, dominated) = split_front(&distinct, rest);
        for index in front {
            distinct_ranks[index] = rank;
        }
        rest = dominated;
        rank += 1;
    }
    for index in rest {
        distinct_ranks[index] = rank;
    }
    of.into_iter().map(|index| distinct_ranks[index]).collect()
}

/// Points in lexicographic order without repeats, and where each given point is among them.
struct Distinct<'a> {
    points: Vec<&'a [f64]>,
    of: Vec<usize>,
}

impl<'a> Distinct<'a> {
    fn of<P: AsRef<[f64]>>(given: &'a [P]) -> Self {
        let mut order: Vec<usize> = (0..given.len()).collect();
        order.sort_by(|one, other| lexicographic(given[*one].as_ref(), given[*other].as_ref()));
        let mut points: Vec<&[f64]> = Vec::new();
        let mut of = vec![0; given.len()];
        for index in order {
            if points.last().is_none_or(|last| *last != given[index].as_ref()) {
                points.push(given[index].as_ref());
            }
            of[index] = points.len() - 1;
        }
        Self { points, of }
    }
}

fn lexicographic(one: &[f64], other: &[f64]) -> Ordering {
    let differing = one.iter().zip(other).map(|(one, other)| one.partial_cmp(other).unwrap_or(Ordering::Equal));
    differing.into_iter().find(|order| order.is_ne()).unwrap_or(Ordering::Equal)
}

/// Those of `rest` that none of `rest` dominates, and the others. `points` are distinct and in lexicographic
/// order, so that no point dominates one before it.
fn split_front(points: &[&[f64]], rest: Vec<usize>) -> (Vec<usize>, Vec<usize>) {
    let mut front: Vec<usize> = Vec::new();
    let mut dominated = Vec::new();
    match points.first().map_or(0, |point| point.len()) {
        0 => return (rest, dominated),
        1 | 2 => {
            let mut least = None;
            for index in rest {
                // With one objective only the first is in front: a second would be the same for all.
                let second = points[index].get(1).copied().unwrap_or(0.0);
                if least.is_none_or(|least| second < least) {
                    least = Some(second);
                    front.push(index);
                } else {
                    dominated.push(index);
                }
            }
        }
        _ => {
            for index in rest {
                let worse = |than: &usize| points[*than].iter().zip(points[index]).all(|(than, own)| than <= own);
                if front.iter().any(worse) {
                    dominated.push(index);
                } else {
                    front.push(index);
                }
            }
        }
    }
    (front, dominated)
}

/// The volume that `points` dominate within `reference`; points that are not better than the reference
/// everywhere add nothing. Infinite where a point is infinitely good.
pub fn hypervolume<P: AsRef<[f64]>>(points: &[P], reference: &[f64]) -> f64 {
    let inside: Vec<&[f64]> = points
        .iter()
        .map(AsRef::as_ref)
        .filter(|point| point.iter().zip(reference).all(|(value, limit)| value < limit))
        .collect();
    let distinct = Distinct::of(&inside).points;
    let (front, _) = split_front(&distinct, (0..distinct.len()).collect());
    let sorted: Vec<&[f64]> = front.into_iter().map(|index| distinct[index]).collect();
    let volume = match reference.len() {
        0 => 0.0,
        1 => sorted.first().map_or(0.0, |best| reference[0] - best[0]),
        2 => area(&sorted, reference),
        _ => volume(&sorted, reference),
    };
    if volume.is_nan() { f64::INFINITY } else { volume }
}

/// Of a front by rising first value.
fn area(front: &[&[f64]], reference: &[f64]) -> f64 {
    let mut upper = reference[1];
    let mut area = 0.0;
    for point in front {
        area += (reference[0] - point[0]) * (upper - point[1]);
        upper = point[1];
    }
    area
}

/// Of a front by rising first value, by exclusive volumes (While et al. 2012, "A fast way of calculating exact
/// hypervolumes"): what a point adds to those after it is its box less what they cover of it.
fn volume(front: &[&[f64]], reference: &[f64]) -> f64 {
    if reference.len() == 2 {
        return area(front, reference);
    }
    let exclusive = |index: usize| {
        let own = front[index];
        let whole: f64 = reference.iter().zip(own).map(|(limit, value)| limit - value).product();
        // The first value of all that come after is no less than the own one: one objective less matters.
        let covered: Vec<Vec<f64>> = front[index + 1..]
            .iter()
            .map(|after| after.iter().zip(own).map(|(after, own)| after.max(*own)).collect())
            .collect();
        whole - hypervolume(&covered, reference)
    };
    (0..front.len()).map(exclusive).sum()
}

/// For each point how far its neighbours along each objective are apart, in parts of the whole extent, summed
/// over the objectives; the outermost points have infinity, and an objective in which all are equal counts for
/// nothing (Deb et al. 2002). The points should be of one rank.
pub fn crowding_distances<P: AsRef<[f64]>>(points: &[P]) -> Vec<f64> {
    let mut distances = vec![0.0; points.len()];
    let objectives = points.first().map_or(0, |point| point.as_ref().len());
    for objective in 0..objectives {
        let value = |index: usize| points[index].as_ref()[objective];
        let mut order: Vec<usize> = (0..points.len()).collect();
        order.sort_by(|one, other| value(*one).total_cmp(&value(*other)));
        if value(order[0]) == value(order[order.len() - 1]) {
            continue;
        }
        let least = order.iter().map(|index| value(*index)).find(|value| *value > f64::NEG_INFINITY);
        let most = order.iter().rev().map(|index| value(*index)).find(|value| *value < f64::INFINITY);
        let extent = match most.unwrap_or(f64::NEG_INFINITY) - least.unwrap_or(f64::INFINITY) {
            extent if extent > 0.0 => extent,
            _ => 1.0,
        };
        let apart = |from: f64, to: f64| if from == to { 0.0 } else { to - from };
        for (place, index) in order.iter().enumerate() {
            let below = if place == 0 { f64::NEG_INFINITY } else { value(order[place - 1]) };
            let above = order.get(place + 1).map_or(f64::INFINITY, |next| value(*next));
            distances[*index] += apart(below, above) / extent;
        }
    }
    distances
}

/// A reference a little worse than the worst of `points`, as Optuna's TPE takes it: a tenth of the value beyond.
pub fn reference_beyond<P: AsRef<[f64]>>(points: &[P]) -> Vec<f64> {
    let objectives = points.first().map_or(0, |point| point.as_ref().len());
    let worst =
        |objective: usize| points.iter().map(|point| point.as_ref()[objective]).fold(f64::NEG_INFINITY, f64::max);
    let beyond = |worst: f64| match (1.1 * worst).max(0.9 * worst) {
        0.0 => 1e-12,
        beyond => beyond,
    };
    (0..objectives).map(worst).map(beyond).collect()
}

/// `count` indices of `points` that together dominate much: each is the one that adds most to those before it
/// (greedy, at least 1 − 1/e of the best; Guerreiro et al. 2016). Ties go to the point that is first in
/// lexicographic order; equal points come only once no other is left.
pub fn select_by_hypervolume<P: AsRef<[f64]>>(points: &[P], count: usize, reference: &[f64]) -> Vec<usize> {
    if count >= points.len() {
        return (0..points.len()).collect();
    }
    let Distinct { points: distinct, of } = Distinct::of(points);
    let mut first = vec![usize::MAX; distinct.len()];
    for (index, distinct) in of.iter().enumerate().rev() {
        first[*distinct] = index;
    }
    if distinct.len() < count {
        let repeats = (0..points.len()).filter(|index| first[of[*index]] != *index);
        let mut chosen: Vec<usize> = first.iter().copied().chain(repeats).take(count).collect();
        chosen.sort_unstable();
        return chosen;
    }
    if !reference.iter().all(|limit| limit.is_finite()) {
        first.truncate(count);
        return first;
    }
    greedy(&distinct, count, reference).into_iter().map(|index| first[index]).collect()
}

/// `count` indices of the best `points`: with one objective the least, with several whole ranks of domination while
/// they fit, and of the next those that together dominate most.
pub fn select_best<P: AsRef<[f64]>>(points: &[P], count: usize) -> Vec<usize> {
    if count >= points.len() || points[0].as_ref().len() == 1 {
        let mut order: Vec<usize> = (0..points.len()).collect();
        order.sort_by(|one, other| points[*one].as_ref()[0].total_cmp(&points[*other].as_ref()[0]));
        order.truncate(count);
        return order;
    }
    let ranks = ranks(points, count);
    let mut best: Vec<usize> = Vec::new();
    for rank in 0..points.len() {
        let members: Vec<usize> = (0..points.len()).filter(|place| ranks[*place] == rank).collect();
        let tied: Vec<&[f64]> = members.iter().map(|place| points[*place].as_ref()).collect();
        let wanted = (count - best.len()).min(members.len());
        let reference = reference_beyond(&tied);
        best.extend(select_by_hypervolume(&tied, wanted, &reference).into_iter().map(|place| members[place]));
        if best.len() == count {
            break;
        }
    }
    best
}

/// What a point adds never grows as others are chosen (submodularity), so that an old addition is an upper
/// bound: only those that could still be the largest are computed again.
fn greedy(points: &[&[f64]], count: usize, reference: &[f64]) -> Vec<usize> {
    let alone = |point: &[f64]| reference.iter().zip(point).map(|(limit, value)| limit - value).product::<f64>();
    let mut bounds: Vec<f64> = points.iter().map(|point| alone(point)).collect();
    let mut current = vec![true; points.len()];
    let mut taken = vec![false; points.len()];
    let mut chosen: Vec<usize> = Vec::new();
    while chosen.len() < count {
        let best = (0..points.len())
            .filter(|index| !taken[*index])
            .reduce(|best, index| if bounds[index] > bounds[best] { index } else { best });
        let Some(best) = best else { break };
        if current[best] {
            taken[best] = true;
            chosen.push(best);
            current.fill(false);
            continue;
        }
        let covered: Vec<Vec<f64>> = chosen
            .iter()
            .map(|index| points[*index].iter().zip(points[best]).map(|(one, other)| one.max(*other)).collect())
            .collect();
        bounds[best] = match alone(points[best]) {
            f64::INFINITY => f64::INFINITY,
            whole => whole - hypervolume(&covered, reference),
        };
        current[best] = true;
    }
    chosen
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::{assert_near, indices, load, numbers, points};

    #[test]
    fn ranks_volumes_and_choices_are_those_of_optuna() {
        for (number, case) in load("pareto").as_array().unwrap().iter().enumerate() {
            let all = points(&case["points"]);
            let all_ranks = ranks(&all, all.len());
            assert_eq!(all_ranks, indices(&case["ranks"]), "case {number}");
            let first = case["first"].as_u64().unwrap() as usize;
            assert_eq!(ranks(&all, first), indices(&case["first_ranks"]), "case {number}");
            assert_near(hypervolume(&all, &numbers(&case["limit"])), case["hypervolume"].as_f64().unwrap(), "volume");

            let of_front: Vec<Vec<f64>> = front(&all).into_iter().map(|index| all[index].clone()).collect();
            let reference = reference_beyond(&of_front);
            assert_eq!(reference, numbers(&case["reference"]), "case {number}");
            for wanted in case["chosen"].as_array().unwrap() {
                let wanted = indices(wanted);
                let mut chosen = select_by_hypervolume(&of_front, wanted.len(), &reference);
                let volume = |places: &[usize]| {
                    hypervolume(&places.iter().map(|place| &of_front[*place]).collect::<Vec<_>>(), &reference)
                };
                assert_near(volume(&chosen), volume(&wanted), &format!("case {number}, {} chosen", wanted.len()));
                let mut wanted = wanted;
                chosen.sort_unstable();
                wanted.sort_unstable();
                assert_eq!(chosen, wanted, "case {number}");
            }
            // Which of equal values is the outermost is left open.
            let column = |objective: usize| of_front.iter().map(|point| [point[objective]]).collect::<Vec<_>>();
            let distinct = |objective: usize| Distinct::of(&column(objective)).points.len() == of_front.len();
            if (0..reference.len()).all(distinct) {
                for (got, wanted) in crowding_distances(&of_front).into_iter().zip(numbers(&case["crowding"])) {
                    assert_near(got, wanted, &format!("crowding in case {number}"));
                }
            }
        }
    }

    #[test]
    fn infinite_and_outside_points_are_no_trouble() {
        let limit = [1.0, 1.0];
        assert_eq!(hypervolume(&[[2.0, 0.0], [0.0, 1.0]], &limit), 0.0);
        assert_eq!(hypervolume(&[[f64::NEG_INFINITY, 0.0]], &limit), f64::INFINITY);
        assert_eq!(hypervolume(&[[f64::INFINITY, 0.0], [0.5, 0.5]], &limit), 0.25);
        assert_eq!(hypervolume::<[f64; 2]>(&[], &limit), 0.0);
        assert_eq!(front(&[[1.0, 1.0], [1.0, 1.0], [2.0, 1.0]]), [0, 1]);
        assert_eq!(ranks::<[f64; 2]>(&[], 3), [0usize; 0]);
        assert_eq!(crowding_distances(&[[f64::INFINITY, 1.0], [0.0, 1.0], [1.0, 1.0]])[2], f64::INFINITY);
    }

    #[test]
    fn volumes_of_many_objectives_are_those_of_counting() {
        let points = [[0.2, 0.7, 0.1, 0.5], [0.6, 0.1, 0.3, 0.4], [0.4, 0.4, 0.6, 0.2], [0.9, 0.0, 0.0, 0.9]];
        let steps = 20;
        let mut inside = 0;
        for cell in 0..steps * steps * steps * steps {
            let at = |axis: u32| ((cell / steps_to(steps, axis)) % steps) as f64 / steps as f64 + 0.5 / steps as f64;
            let center = [at(0), at(1), at(2), at(3)];
            inside += usize::from(points.iter().any(|point| point.iter().zip(&center).all(|(value, c)| value <= c)));
        }
        let counted = inside as f64 / steps_to(steps, 4) as f64;
        assert!((hypervolume(&points, &[1.0; 4]) - counted).abs() < 1e-9, "{counted}");
    }

    fn steps_to(steps: usize, power: u32) -> usize {
        steps.pow(power)
    }
}
