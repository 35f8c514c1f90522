//! What a space may draw, as a tree: for counting networks, for stating how likely each value is,
//! and for placing what the constraints ask for.

use crate::{chance::Chance, spec::Span};
use nasgen_modules::{Distribution, Draw, Result};
use nasgen_search::RandomDraw;
use num_bigint::BigUint;
use serde_json::{Map, Value};
use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::Arc,
};

/// A draw with more values than this is never looked into value by value.
const MOST_VALUES: u64 = 128;
/// Ways to a draw beyond which its probability is not worked out.
const MOST_WAYS: usize = 20_000;

/// Values by name.
pub(super) type Values = BTreeMap<String, Value>;

/// A part of what one sample draws, in order.
#[derive(Debug)]
pub(super) enum Node {
    Nothing,
    Sequence(Vec<Arc<Node>>),
    Draw(DrawNode),
    /// Copies of rows that halve the image.
    Strides(usize),
    /// From here on the image has the size of this class.
    Size(usize),
    /// No network comes this way.
    Impossible,
}

#[derive(Clone, Debug)]
pub(super) struct DrawNode {
    pub(super) name: String,
    pub(super) distribution: Distribution,
    /// Where the space says it.
    pub(super) span: Span,
    /// The probability of each value where what was drawn before rules some out: 0 for those, the whole
    /// for the others.
    left: Option<Vec<f64>>,
    /// What follows on each value; `None` where it is the same.
    pub(super) branches: Option<Vec<Arc<Node>>>,
    /// Where the space says each value, if it does so one by one.
    pub(super) spans: Vec<Span>,
}

impl DrawNode {
    /// 0 for a value that is ruled out, else 1.
    fn factor(&self, index: usize) -> f64 {
        if self.left.as_ref().is_none_or(|left| left[index] > 0.0) { 1.0 } else { 0.0 }
    }

    /// The probability of the value at `index` before anything after it is considered.
    fn probability(&self, index: usize) -> f64 {
        match &self.left {
            None => self.distribution.probability(index as u64),
            Some(left) => left[index],
        }
    }
}

impl Node {
    pub(super) fn sequence(nodes: Vec<Arc<Self>>) -> Arc<Self> {
        let mut nodes: Vec<_> = nodes.into_iter().filter(|node| !matches!(**node, Self::Nothing)).collect();
        match nodes.len() {
            0 => Arc::new(Self::Nothing),
            1 => nodes.swap_remove(0),
            _ => Arc::new(Self::Sequence(nodes)),
        }
    }

    /// A draw after which everything goes on alike.
    pub(super) fn leaf(name: &str, distribution: &Distribution, span: Span) -> Arc<Self> {
        Self::branching(name, distribution, span, Vec::new(), None)
    }

    pub(super) fn branching(
        name: &str,
        distribution: &Distribution,
        span: Span,
        spans: Vec<Span>,
        branches: Option<Vec<Arc<Self>>>,
    ) -> Arc<Self> {
        let (name, distribution) = (name.to_owned(), distribution.clone());
        Arc::new(Self::Draw(DrawNode { name, distribution, span, left: None, branches, spans }))
    }

    /// A draw of which only the values with factor 1 are left, at least one; the others lead nowhere.
    pub(super) fn restricted(
        name: &str,
        distribution: &Distribution,
        span: Span,
        factors: &[f64],
        branches: Vec<Arc<Self>>,
    ) -> Arc<Self> {
        let weight = |(index, factor): (usize, &f64)| factor * distribution.probability(index as u64);
        let weights: Vec<f64> = factors.iter().enumerate().map(weight).collect();
        let whole: f64 = weights.iter().sum();
        let left = Some(weights.into_iter().map(|weight| weight / whole).collect());
        let (name, distribution) = (name.to_owned(), distribution.clone());
        Arc::new(Self::Draw(DrawNode { name, distribution, span, left, branches: Some(branches), spans: Vec::new() }))
    }

    /// Without the draws that decide nothing about strides and sizes.
    pub(super) fn decisive(self: &Arc<Self>) -> Arc<Self> {
        self.decisive_knowing(&mut HashMap::new())
    }

    /// Ways that meet in one node are followed once.
    fn decisive_knowing(self: &Arc<Self>, known: &mut HashMap<*const Self, Arc<Self>>) -> Arc<Self> {
        if let Some(known) = known.get(&Arc::as_ptr(self)) {
            return known.clone();
        }
        let decisive = match &**self {
            Self::Sequence(nodes) => Self::sequence(nodes.iter().map(|node| node.decisive_knowing(known)).collect()),
            Self::Draw(DrawNode { branches: None, .. }) => Arc::new(Self::Nothing),
            Self::Draw(draw) => {
                let branches: Vec<_> =
                    draw.branches.iter().flatten().map(|branch| branch.decisive_knowing(known)).collect();
                if branches.iter().all(|branch| matches!(**branch, Self::Nothing)) {
                    Arc::new(Self::Nothing)
                } else {
                    Arc::new(Self::Draw(DrawNode { branches: Some(branches), ..draw.clone() }))
                }
            }
            Self::Nothing | Self::Strides(_) | Self::Size(_) | Self::Impossible => self.clone(),
        };
        known.insert(Arc::as_ptr(self), decisive.clone());
        decisive
    }

    /// Calls `see` with every draw, in order; ways that meet in one are followed once.
    pub(super) fn each_draw(&self, see: &mut dyn FnMut(&DrawNode)) {
        self.each_draw_beyond(&mut HashSet::new(), see);
    }

    fn each_draw_beyond(&self, seen: &mut HashSet<*const Self>, see: &mut dyn FnMut(&DrawNode)) {
        if !seen.insert(std::ptr::from_ref(self)) {
            return;
        }
        match self {
            Self::Sequence(nodes) => nodes.iter().for_each(|node| node.each_draw_beyond(seen, see)),
            Self::Draw(draw) => {
                see(draw);
                draw.branches.iter().flatten().for_each(|branch| branch.each_draw_beyond(seen, see));
            }
            Self::Nothing | Self::Strides(_) | Self::Size(_) | Self::Impossible => {}
        }
    }
}

/// What a network must meet at its end, in terms of strides and sizes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Goal {
    /// The most strides that an image of each class bears; `None` where it is too small as it is.
    pub(super) most: Vec<Option<usize>>,
    /// The fewest strides.
    pub(super) least: usize,
    /// Whether there is no goal: strides are not counted.
    free: bool,
}

impl Goal {
    pub(super) fn none() -> Self {
        Self { most: vec![Some(0)], least: 0, free: true }
    }

    pub(super) fn new(least: usize, most: Vec<Option<usize>>) -> Self {
        Self { most, least, free: false }
    }

    fn width(&self) -> usize {
        self.most.iter().flatten().max().map_or(1, |most| most + 1)
    }

    /// 1 for each state (class, strides) that meets the goal at the end, else 0.
    pub(super) fn end<T: Amount>(&self) -> Vec<T> {
        let state = |most: &Option<usize>| {
            let fits = |strides| most.is_some_and(|most| (self.least..=most).contains(&strides));
            (0..self.width()).map(fits).collect::<Vec<_>>()
        };
        let met = self.most.iter().flat_map(state);
        met.map(|met| if met { T::one() } else { T::zero() }).collect()
    }

    fn after_strides(&self, state: usize, strides: usize) -> Option<usize> {
        let width = self.width();
        if self.free {
            return Some(state);
        }
        (state % width + strides < width).then_some(state + strides)
    }

    fn of_size(&self, state: usize, class: usize) -> usize {
        if self.free { state } else { class * self.width() + state % self.width() }
    }
}

/// What is summed over the ways through a space: probabilities, or numbers of networks.
pub(super) trait Amount: Clone {
    fn zero() -> Self;
    fn one() -> Self;
    fn plus(self, other: &Self) -> Self;
    fn times(&self, other: &Self) -> Self;
    /// What one value of a draw weighs.
    fn of_value(draw: &DrawNode, index: usize) -> Self;
    /// What all values of a distribution weigh.
    fn of_all(distribution: &Distribution) -> Self;
}

impl Amount for f64 {
    fn zero() -> Self {
        0.0
    }
    fn one() -> Self {
        1.0
    }
    fn plus(self, other: &Self) -> Self {
        self + other
    }
    fn times(&self, other: &Self) -> Self {
        self * other
    }
    fn of_value(draw: &DrawNode, index: usize) -> Self {
        draw.probability(index)
    }
    fn of_all(_: &Distribution) -> Self {
        1.0
    }
}

impl Amount for BigUint {
    fn zero() -> Self {
        Self::ZERO
    }
    fn one() -> Self {
        Self::from(1u8)
    }
    fn plus(self, other: &Self) -> Self {
        self + other
    }
    fn times(&self, other: &Self) -> Self {
        self * other
    }
    fn of_value(draw: &DrawNode, index: usize) -> Self {
        Self::from(u8::from(draw.factor(index) > 0.0))
    }
    fn of_all(distribution: &Distribution) -> Self {
        Self::from(distribution.count().unwrap_or(1))
    }
}

/// What `node` is worth in each state, if `future` is what each state is worth after it.
pub(super) fn worth<T: Amount>(node: &Node, goal: &Goal, future: &[T]) -> Vec<T> {
    Worth::before(goal, future).of(node)
}

/// What nodes are worth before one place; ways that meet in one node are worked out once.
struct Worth<'a, T> {
    goal: &'a Goal,
    future: &'a [T],
    known: HashMap<*const Node, Vec<T>>,
}

impl<'a, T: Amount> Worth<'a, T> {
    fn before(goal: &'a Goal, future: &'a [T]) -> Self {
        Self { goal, future, known: HashMap::new() }
    }

    fn of(&mut self, node: &Node) -> Vec<T> {
        let future = self.future;
        match node {
            Node::Nothing => future.to_vec(),
            Node::Impossible => vec![T::zero(); future.len()],
            Node::Strides(strides) => {
                let after = |state| self.goal.after_strides(state, *strides);
                (0..future.len()).map(|state| after(state).map_or(T::zero(), |after| future[after].clone())).collect()
            }
            Node::Size(class) => {
                (0..future.len()).map(|state| future[self.goal.of_size(state, *class)].clone()).collect()
            }
            Node::Sequence(nodes) => {
                nodes.iter().rev().fold(future.to_vec(), |future, node| worth(node, self.goal, &future))
            }
            Node::Draw(DrawNode { distribution, branches: None, .. }) => {
                let all = T::of_all(distribution);
                future.iter().map(|amount| all.times(amount)).collect()
            }
            Node::Draw(draw @ DrawNode { branches: Some(branches), .. }) => {
                if let Some(known) = self.known.get(&std::ptr::from_ref(node)) {
                    return known.clone();
                }
                let mut sum = vec![T::zero(); future.len()];
                for (index, branch) in branches.iter().enumerate() {
                    let one = T::of_value(draw, index);
                    let more = self.of(branch);
                    sum = sum.into_iter().zip(&more).map(|(sum, more)| sum.plus(&one.times(more))).collect();
                }
                self.known.insert(std::ptr::from_ref(node), sum.clone());
                sum
            }
        }
    }
}

/// What each place of a sequence is worth: before its first node, before its second, …, at its end.
pub(super) fn futures<T: Amount>(nodes: &[Arc<Node>], goal: &Goal, end: &[T]) -> Vec<Vec<T>> {
    let mut futures = vec![end.to_vec()];
    for node in nodes.iter().rev() {
        let next = worth(node, goal, &futures[futures.len() - 1]);
        futures.push(next);
    }
    futures.reverse();
    futures
}

/// Draws everything in `node` so that the goal can still be met; gives the state after it.
fn place(node: &Node, state: usize, worth: &mut Worth<'_, f64>, draw: &mut dyn Draw) -> Result<usize> {
    let goal = worth.goal;
    match node {
        Node::Nothing | Node::Impossible => Ok(state),
        Node::Strides(strides) => Ok(goal.after_strides(state, *strides).unwrap_or(state)),
        Node::Size(class) => Ok(goal.of_size(state, *class)),
        Node::Sequence(nodes) => {
            let futures = futures(nodes, goal, worth.future);
            place_all(nodes, goal, state, &futures, draw)
        }
        Node::Draw(drawn @ DrawNode { name, distribution, branches, .. }) => {
            let Some(branches) = branches else {
                draw.draw(name, distribution)?;
                return Ok(state);
            };
            let factor = |(index, branch)| drawn.factor(index) * worth.of(branch)[state];
            let factors: Vec<f64> = branches.iter().map(Arc::as_ref).enumerate().map(factor).collect();
            let value = draw.draw_among(name, distribution, Some(&factors))?;
            let chosen = distribution.index_of(&value).unwrap_or(0) as usize;
            place(&branches[chosen], state, worth, draw)
        }
    }
}

/// Draws everything in a sequence whose futures are known, so that the goal can still be met; gives the
/// state after it.
pub(super) fn place_all(
    nodes: &[Arc<Node>],
    goal: &Goal,
    mut state: usize,
    futures: &[Vec<f64>],
    draw: &mut dyn Draw,
) -> Result<usize> {
    for (node, future) in nodes.iter().zip(&futures[1..]) {
        state = place(node, state, &mut Worth::before(goal, future), draw)?;
    }
    Ok(state)
}

/// The draws of the network at `index`, counted from 0 in the order of the space's values.
pub(super) fn unrank(nodes: &[Arc<Node>], goal: &Goal, futures: &[Vec<BigUint>], mut index: BigUint) -> Values {
    let mut draws = Values::new();
    unrank_all(nodes, goal, 0, futures, &mut index, &mut draws);
    draws
}

fn unrank_all(
    nodes: &[Arc<Node>],
    goal: &Goal,
    state: usize,
    futures: &[Vec<BigUint>],
    index: &mut BigUint,
    draws: &mut Values,
) -> usize {
    let steps = nodes.iter().zip(&futures[1..]);
    steps.fold(state, |state, (node, future)| unrank_one(node, state, &mut Worth::before(goal, future), index, draws))
}

fn unrank_one(
    node: &Node,
    state: usize,
    worth: &mut Worth<'_, BigUint>,
    index: &mut BigUint,
    draws: &mut Values,
) -> usize {
    let goal = worth.goal;
    match node {
        Node::Nothing | Node::Impossible => state,
        Node::Strides(strides) => goal.after_strides(state, *strides).unwrap_or(state),
        Node::Size(class) => goal.of_size(state, *class),
        Node::Sequence(nodes) => {
            let futures = futures(nodes, goal, worth.future);
            unrank_all(nodes, goal, state, &futures, index, draws)
        }
        Node::Draw(DrawNode { name, distribution, branches: None, .. }) => {
            let each = &worth.future[state];
            let value = u64::try_from(&*index / each).unwrap_or(0);
            *index = &*index % each;
            draws.insert(name.clone(), distribution.value(value));
            state
        }
        Node::Draw(draw @ DrawNode { name, distribution, branches: Some(branches), .. }) => {
            for (value, branch) in branches.iter().enumerate().filter(|(value, _)| draw.factor(*value) > 0.0) {
                let size = worth.of(branch)[state].clone();
                if *index < size {
                    draws.insert(name.clone(), distribution.value(value as u64));
                    return unrank_one(branch, state, worth, index, draws);
                }
                *index -= size;
            }
            state
        }
    }
}

/// How likely the values of one draw are.
#[derive(Clone, Debug)]
pub(super) struct Share {
    pub(super) name: String,
    pub(super) distribution: Distribution,
    pub(super) spans: Vec<Span>,
    /// That it is drawn at all.
    pub(super) applies: f64,
    /// That it is drawn and has each value; empty where the values follow the distribution.
    pub(super) values: Vec<f64>,
    /// The draws on which it depends that this one is made, with the values that lead to it.
    pub(super) when: Vec<(String, Vec<Value>)>,
}

/// The share of every draw, in order, when samples are drawn until the goal is met; `None` where
/// there are too many ways to work through.
pub(super) fn shares(nodes: &[Arc<Node>], goal: &Goal) -> Option<Vec<Share>> {
    let end: Vec<f64> = goal.end();
    let futures = futures(nodes, goal, &end);
    let total = futures[0][0];
    let mut ways = Ways { goal, total, shares: Vec::new(), index: HashMap::new(), path: Vec::new(), left: MOST_WAYS };
    let mut past = vec![0.0; end.len()];
    past[0] = 1.0;
    for (node, future) in nodes.iter().zip(&futures[1..]) {
        past = ways.follow(node, &past, &mut Worth::before(goal, future))?;
    }
    Some(ways.shares)
}

struct Ways<'a> {
    goal: &'a Goal,
    total: f64,
    shares: Vec<Share>,
    index: HashMap<String, usize>,
    path: Vec<(String, Value)>,
    left: usize,
}

impl Ways<'_> {
    /// From how likely each state is before `node` to how likely it is after.
    fn follow(&mut self, node: &Node, past: &[f64], worth: &mut Worth<'_, f64>) -> Option<Vec<f64>> {
        self.left = self.left.checked_sub(1)?;
        Some(match node {
            Node::Nothing => past.to_vec(),
            Node::Impossible => vec![0.0; past.len()],
            Node::Strides(strides) => self.moved(past, |goal, state| goal.after_strides(state, *strides)),
            Node::Size(class) => self.moved(past, |goal, state| Some(goal.of_size(state, *class))),
            Node::Sequence(nodes) => {
                let futures = futures(nodes, self.goal, worth.future);
                let mut past = past.to_vec();
                for (node, future) in nodes.iter().zip(&futures[1..]) {
                    past = self.follow(node, &past, &mut Worth::before(self.goal, future))?;
                }
                past
            }
            Node::Draw(draw) => self.draw(draw, past, worth)?,
        })
    }

    fn moved(&self, past: &[f64], to: impl Fn(&Goal, usize) -> Option<usize>) -> Vec<f64> {
        let mut after = vec![0.0; past.len()];
        for (state, amount) in past.iter().enumerate() {
            if let Some(target) = to(self.goal, state) {
                after[target] += amount;
            }
        }
        after
    }

    fn draw(&mut self, draw: &DrawNode, past: &[f64], worth: &mut Worth<'_, f64>) -> Option<Vec<f64>> {
        let meets =
            |past: &[f64], future: &[f64]| past.iter().zip(future).map(|(p, f)| p * f).sum::<f64>() / self.total;
        let Some(branches) = &draw.branches else {
            let applies = meets(past, worth.future);
            self.add(draw, applies, &[]);
            return Some(past.to_vec());
        };
        let probability = |index: usize| draw.probability(index);
        let values: Vec<f64> = branches
            .iter()
            .enumerate()
            .map(|(index, branch)| probability(index) * meets(past, &worth.of(branch)))
            .collect();
        self.add(draw, values.iter().sum(), &values);
        let mut after = vec![0.0; past.len()];
        for (index, branch) in branches.iter().enumerate() {
            let before: Vec<f64> = past.iter().map(|amount| amount * probability(index)).collect();
            self.path.push((draw.name.clone(), draw.distribution.value(index as u64)));
            let more = self.follow(branch, &before, worth)?;
            self.path.pop();
            after.iter_mut().zip(more).for_each(|(sum, more)| *sum += more);
        }
        Some(after)
    }

    fn add(&mut self, draw: &DrawNode, applies: f64, values: &[f64]) {
        let next = self.shares.len();
        let index = *self.index.entry(draw.name.clone()).or_insert(next);
        if index == next {
            let DrawNode { name, distribution, spans, .. } = draw;
            self.shares.push(Share {
                name: name.clone(),
                distribution: distribution.clone(),
                spans: spans.clone(),
                applies: 0.0,
                values: vec![0.0; values.len()],
                when: Vec::new(),
            });
        }
        let share = &mut self.shares[index];
        share.applies += applies;
        share.values.iter_mut().zip(values).for_each(|(sum, more)| *sum += more);
        for (name, value) in &self.path {
            match share.when.iter_mut().find(|(known, _)| known == name) {
                Some((_, values)) if !values.contains(value) => values.push(value.clone()),
                Some(_) => {}
                None => share.when.push((name.clone(), vec![value.clone()])),
            }
        }
    }
}

/// Draws what a script says, and the first or the last value of all else.
pub(super) struct Scripted<'a> {
    script: &'a Values,
    last: bool,
    pub(super) asked: Vec<(String, Distribution)>,
}

impl<'a> Scripted<'a> {
    pub(super) fn new(script: &'a Values, last: bool) -> Self {
        Self { script, last, asked: Vec::new() }
    }
}

impl Draw for Scripted<'_> {
    fn draw_among(&mut self, name: &str, distribution: &Distribution, factors: Option<&[f64]>) -> Result<Value> {
        self.asked.push((name.to_owned(), distribution.clone()));
        if let Some(value) = self.script.get(name) {
            return Ok(value.clone());
        }
        let mut indices = 0..distribution.count().unwrap_or(1);
        let can_stand = |index: &u64| factors.is_none_or(|factors| factors[*index as usize] > 0.0);
        let index = if self.last { indices.rev().find(can_stand) } else { indices.find(can_stand) };
        Ok(distribution.value(index.unwrap_or(0)))
    }
}

/// Finds out what a function draws by running it: each draw is tried with its other values, and is
/// followed into each where what comes after it changes.
pub(super) fn explore(ask: &dyn Fn(&mut dyn Draw) -> Result<()>, span: Span) -> Arc<Node> {
    explore_from(ask, &Values::new(), span)
}

fn explore_from(ask: &dyn Fn(&mut dyn Draw) -> Result<()>, fixed: &Values, span: Span) -> Arc<Node> {
    let run = |script: &Values| {
        let mut draw = Scripted::new(script, false);
        ask(&mut draw).map(|()| draw.asked)
    };
    let mut fixed = fixed.clone();
    let Ok(asked) = run(&fixed) else {
        return impossible_at_first(ask, &fixed, span);
    };
    let mut nodes = Vec::new();
    for (name, distribution) in &asked {
        if fixed.contains_key(name) {
            continue;
        }
        let values = distribution.values(MOST_VALUES).unwrap_or_default();
        let with = |value: &Value| {
            let mut fixed = fixed.clone();
            fixed.insert(name.clone(), value.clone());
            fixed
        };
        let changes = |value: &Value| run(&with(value)).map_or(true, |other| other != asked);
        if values.len() > 1 && values.iter().any(changes) {
            let branches = values.iter().map(|value| explore_from(ask, &with(value), span)).collect();
            nodes.push(Node::branching(name, distribution, span, Vec::new(), Some(branches)));
            return Node::sequence(nodes);
        }
        nodes.push(Node::leaf(name, distribution, span));
        fixed.insert(name.clone(), distribution.value(0));
    }
    Node::sequence(nodes)
}

/// The first values do not stand; others of what was asked may.
fn impossible_at_first(ask: &dyn Fn(&mut dyn Draw) -> Result<()>, fixed: &Values, span: Span) -> Arc<Node> {
    let mut draw = Scripted::new(fixed, false);
    let _ = ask(&mut draw);
    let open = draw.asked.iter().find(|(name, _)| !fixed.contains_key(name));
    let Some((name, distribution)) = open else { return Arc::new(Node::Impossible) };
    let Some(values) = distribution.values(MOST_VALUES) else { return Arc::new(Node::Impossible) };
    let branch = |value: Value| {
        let mut fixed = fixed.clone();
        fixed.insert(name.clone(), value);
        explore_from(ask, &fixed, span)
    };
    let branches = values.into_iter().map(branch).collect();
    Node::branching(name, distribution, span, Vec::new(), Some(branches))
}

/// `node`, a row's draws, with the strides that the row makes: `strides` says how many for some
/// draws and the first (`false`) or last (`true`) values of all others.
pub(super) fn with_strides(node: &Arc<Node>, strides: &dyn Fn(&Values, bool) -> usize) -> Arc<Node> {
    StrideFinder { strides }.find(std::slice::from_ref(node), &Values::new())
}

struct StrideFinder<'a> {
    strides: &'a dyn Fn(&Values, bool) -> usize,
}

impl StrideFinder<'_> {
    fn find(&self, nodes: &[Arc<Node>], fixed: &Values) -> Arc<Node> {
        let Some((first, rest)) = nodes.split_first() else {
            return match (self.strides)(fixed, false) {
                0 => Arc::new(Node::Nothing),
                strides => Arc::new(Node::Strides(strides)),
            };
        };
        match &**first {
            Node::Nothing => self.find(rest, fixed),
            Node::Sequence(inner) => self.find(&[inner, rest].concat(), fixed),
            Node::Draw(draw) => {
                let values = draw.distribution.values(MOST_VALUES).unwrap_or_default();
                let with = |value: &Value| {
                    let mut fixed = fixed.clone();
                    fixed.insert(draw.name.clone(), value.clone());
                    fixed
                };
                let decides = |last: bool| {
                    let mut strides = values.iter().map(|value| (self.strides)(&with(value), last));
                    let first = strides.next();
                    strides.any(|strides| Some(strides) != first)
                };
                match &draw.branches {
                    None if !decides(false) && !decides(true) => {
                        Node::sequence(vec![first.clone(), self.find(rest, fixed)])
                    }
                    branches => {
                        let branch = |(index, value): (usize, &Value)| match branches {
                            None => self.find(rest, &with(value)),
                            Some(branches) => {
                                self.find(&[std::slice::from_ref(&branches[index]), rest].concat(), &with(value))
                            }
                        };
                        let branches = values.iter().enumerate().map(branch).collect();
                        Arc::new(Node::Draw(DrawNode { branches: Some(branches), ..draw.clone() }))
                    }
                }
            }
            Node::Strides(_) | Node::Size(_) | Node::Impossible => {
                Node::sequence(vec![first.clone(), self.find(rest, fixed)])
            }
        }
    }
}

/// Gives what is placed already, and draws all else; keeps what was asked for, in order.
pub(super) struct Recorder<'a> {
    placed: Values,
    inner: &'a mut dyn Draw,
    pub(super) draws: Map<String, Value>,
}

impl<'a> Recorder<'a> {
    pub(super) fn new(placed: Values, inner: &'a mut dyn Draw) -> Self {
        Self { placed, inner, draws: Map::new() }
    }
}

impl Draw for Recorder<'_> {
    fn draw_among(&mut self, name: &str, distribution: &Distribution, factors: Option<&[f64]>) -> Result<Value> {
        let value = match self.placed.get(name) {
            Some(value) => value.clone(),
            None => self.inner.draw_among(name, distribution, factors)?,
        };
        self.draws.insert(name.to_owned(), value.clone());
        Ok(value)
    }
}

/// A number below `count`, each as likely but for one part in 2⁶⁴.
pub(super) fn random_below(count: &BigUint, chance: &mut Chance) -> BigUint {
    let words = count.bits() / 32 + 3;
    let digits = (0..words).map(|_| chance.below(1 << 32) as u32).collect();
    BigUint::new(digits) % count
}

/// Draws at random for one stream of a purpose.
pub(super) fn stream(seed: u64, purpose: &str, number: u64) -> RandomDraw {
    RandomDraw::new(Chance::new(seed, purpose, number))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn choice(values: &[i64]) -> Distribution {
        Distribution::Choice(values.iter().copied().map(Value::from).collect())
    }

    /// Three rows with stride 1 or 2, of which the second may be absent.
    fn three_rows() -> Vec<Arc<Node>> {
        let stride = |name: &str| {
            let branches = vec![Arc::new(Node::Nothing), Arc::new(Node::Strides(1))];
            Node::branching(name, &choice(&[1, 2]), Span::default(), Vec::new(), Some(branches))
        };
        let out = Node::leaf("out", &choice(&[8, 16, 24]), Span::default());
        let second = Node::sequence(vec![out, stride("b.stride")]);
        let optional = Node::branching(
            "b",
            &choice(&[0, 1]),
            Span::default(),
            Vec::new(),
            Some(vec![Arc::new(Node::Nothing), second]),
        );
        vec![stride("a.stride"), optional, stride("c.stride")]
    }

    #[test]
    fn networks_are_counted_listed_and_drawn_alike() {
        let rows = three_rows();
        let goal = Goal::new(2, vec![Some(2)]);
        let end: Vec<BigUint> = goal.end();
        let futures = futures(&rows, &goal, &end);
        // Without b: 2 and 2. With it, three ways to place two strides, times three widths.
        assert_eq!(futures[0][0], BigUint::from(1u8 + 9));
        let mut all = Vec::new();
        for index in 0..10u8 {
            let draws = unrank(&rows, &goal, &futures, BigUint::from(index));
            let strides = draws.iter().filter(|(name, value)| name.ends_with("stride") && **value == 2);
            assert_eq!(strides.count(), 2, "{draws:?}");
            assert!(!all.contains(&draws));
            all.push(draws);
        }

        let shares = shares(&rows, &goal).unwrap();
        let chances = super::futures::<f64>(&rows, &goal, &goal.end());
        let mut counts = BTreeMap::new();
        for number in 0..4000 {
            let mut draw = stream(0, "test", number);
            place_all(&rows, &goal, 0, &chances, &mut draw).unwrap();
            assert_eq!(draw.draws.iter().filter(|(name, value)| name.ends_with("stride") && **value == 2).count(), 2);
            for (name, value) in draw.draws {
                *counts.entry((name, value.to_string())).or_insert(0) += 1;
            }
        }
        for share in &shares {
            for (index, share_of_value) in share.values.iter().enumerate() {
                let value = share.distribution.value(index as u64).to_string();
                let count = counts.get(&(share.name.clone(), value)).copied().unwrap_or(0);
                assert!((count as f64 - 4000.0 * share_of_value).abs() < 150.0, "{share:?} {count}");
            }
        }
        // As likely as rejection would have it: 1/8 of all draws without b, 3/16 with it.
        assert!((shares[1].values[0] - 0.4).abs() < 1e-12, "{:?}", shares[1]);
    }

    #[test]
    fn what_a_function_draws_is_found_by_running_it() {
        let ask = |draw: &mut dyn Draw| {
            draw.draw("a", &choice(&[1, 2, 3]))?;
            let b = draw.draw("b", &choice(&[0, 1]))?;
            if b == 1 {
                draw.draw("c", &choice(&[5, 6]))?;
            }
            draw.draw("d", &choice(&[7]))?;
            Ok(())
        };
        let node = explore(&ask, Span::default());
        let goal = Goal::none();
        assert_eq!(worth::<BigUint>(&node, &goal, &goal.end())[0], BigUint::from(3u8 * (1 + 2)));
        let shares = shares(&[node], &goal).unwrap();
        let names: Vec<&str> = shares.iter().map(|share| share.name.as_str()).collect();
        assert_eq!(names, ["a", "b", "d", "c"]);
        assert_eq!(shares[3].when, [("b".to_owned(), vec![json!(1)])]);
    }
}
