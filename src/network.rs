//! From a spec to its network: every layer with its shape and cost, before any tensor exists.

use crate::spec::{Diagnostic, ModelSpec, Row};
use nasgen_modules::{Copies, Error, Layers, NetworkRules, Node, Primitive, Role, Shape, Site, Source, round_channels};
use serde_json::Value;
use std::collections::BTreeSet;

/// A network with more parameters is refused.
pub const MAX_PARAMS: u64 = 10_000_000_000;
/// A network with more multiply-adds for one image is refused.
pub const MAX_MACS: u64 = 1_000_000_000_000;
/// A network with more layers is refused.
pub const MAX_LAYERS: usize = 20_000;

/// A planned network.
#[derive(Clone, Debug)]
pub struct Network {
    /// Shape of an image.
    pub input: Shape,
    /// One for each row of the spec.
    pub rows: Vec<PlannedRow>,
    /// All layers; tensors are named `backbone.{row}.{copy}.{label}.weight`.
    pub layers: Layers,
    /// What a reader should know: rounded channels, remarks of blocks.
    pub notes: Vec<String>,
}

/// A row of a network, summed over its copies.
#[derive(Clone, Debug)]
pub struct PlannedRow {
    /// Rows it reads, as written.
    pub from: Vec<i64>,
    /// Copies, after the depth multiple.
    pub repeat: usize,
    /// The block's name.
    pub module: String,
    /// Its arguments as a list.
    pub arguments: Vec<Value>,
    /// Shapes that reach it.
    pub inputs: Vec<Shape>,
    /// Shape that leaves it.
    pub output: Shape,
    /// Parameters.
    pub params: u64,
    /// Multiply-adds for one image.
    pub macs: u64,
}

impl Network {
    /// Plans `spec` for images of shape `input`.
    ///
    /// # Errors
    /// The first row that cannot stand: rows after it have no shape to stand on.
    pub fn plan(spec: &ModelSpec, input: Shape) -> Result<Self, Diagnostic> {
        let mut planner = Planner {
            spec,
            network: Self { input, rows: Vec::new(), layers: Layers::identity(vec![input]), notes: spec.notes.clone() },
            outputs: Vec::new(),
            remarks: BTreeSet::new(),
        };
        for (index, row) in spec.rows.iter().enumerate() {
            planner.row(index, row)?;
        }
        planner.reject_unused_rows()?;
        Ok(planner.network)
    }

    /// The number of classes, if the network ends in class scores: a vector or `C×1×1`.
    pub fn classes(&self) -> Option<usize> {
        match self.layers.output() {
            Shape::Features(classes) | Shape::Image { channels: classes, height: 1, width: 1 } => Some(classes),
            Shape::Image { .. } => None,
        }
    }

    /// A norm that sees one value per channel of an image: it cannot learn from batches of one.
    pub fn norm_of_one_value(&self) -> Option<&str> {
        let is_one = |node: &&Node| matches!(node.primitive, Primitive::Norm(_)) && node.output.size() == Some([1, 1]);
        self.layers.nodes().iter().find(is_one).map(|node| node.label.as_str())
    }

    /// The label of the first operation that only the reference executor runs.
    pub fn custom_operation(&self) -> Option<&str> {
        let is_custom = |node: &&Node| matches!(node.primitive, Primitive::Custom(_));
        self.layers.nodes().iter().find(is_custom).map(|node| node.label.as_str())
    }

    /// Copies of blocks that halve the image, or shrink it more: those with a convolution or a pool
    /// that strides. Global pools do not.
    pub fn downsamplings(&self) -> usize {
        let strided = self.layers.nodes().iter().filter(|node| strides(&node.primitive));
        // The label of a layer begins with `backbone.{row}.{copy}.`.
        let copy = |node: &Node| node.label.splitn(4, '.').take(3).collect::<Vec<_>>().join(".");
        strided.map(copy).collect::<BTreeSet<String>>().len()
    }

    /// The smaller side of the smallest image in the network before it is pooled as a whole, gates
    /// apart; that of the input if there is no layer.
    pub fn smallest_feature(&self) -> usize {
        let input = self.input.size().map_or(0, |[height, width]| height.min(width));
        features(&self.layers, &[false]).1.map_or(input, |smallest| smallest.min(input))
    }

    /// Parameters: trainable values.
    pub fn params(&self) -> u64 {
        self.rows.iter().map(|row| row.params).fold(0, u64::saturating_add)
    }

    /// Multiply-adds for one image.
    pub fn macs(&self) -> u64 {
        self.rows.iter().map(|row| row.macs).fold(0, u64::saturating_add)
    }
}

/// Whether a layer shrinks its image by striding.
pub fn strides(primitive: &Primitive) -> bool {
    let window = match primitive {
        Primitive::Convolution(convolution) => &convolution.window,
        Primitive::MaxPool { window, .. } | Primitive::AveragePool { window, .. } => window,
        Primitive::Custom(custom) => return custom.operation().strides(),
        _ => return false,
    };
    window.stride.iter().any(|stride| *stride > 1)
}

/// Whether the result of `layers` was pooled as a whole, if those of its inputs were; and the smaller side
/// of the smallest image before that, gates apart.
pub(crate) fn features(layers: &Layers, pooled_inputs: &[bool]) -> (bool, Option<usize>) {
    let mut pooled: Vec<bool> = Vec::with_capacity(layers.nodes().len());
    let of = |source: &Source, pooled: &[bool]| match source {
        Source::Node(index) => pooled[*index],
        Source::Input(index) => pooled_inputs[*index],
    };
    let mut smallest: Option<usize> = None;
    for node in layers.nodes() {
        let whole = match node.primitive {
            Primitive::AdaptiveAveragePool { .. } | Primitive::AdaptiveMaxPool { .. } | Primitive::Flatten => true,
            // A gate is pooled; what it scales is not.
            Primitive::Scale => of(&node.inputs[0], &pooled),
            _ => node.inputs.iter().any(|source| of(source, &pooled)),
        };
        if let (false, Some([height, width])) = (whole, node.output.size()) {
            smallest = Some(smallest.map_or(height.min(width), |smallest| smallest.min(height).min(width)));
        }
        pooled.push(whole);
    }
    (of(&layers.output_source(), &pooled), smallest)
}

/// The row that `from` names in row `index`: `Some(None)` is the image, `None` no earlier row.
pub(crate) fn earlier_row(from: i64, index: usize) -> Option<Option<usize>> {
    let target = if from < 0 { index as i64 + from } else { from };
    match usize::try_from(target) {
        Ok(target) if target < index => Some(Some(target)),
        Err(_) if target == -1 => Some(None),
        _ => None,
    }
}

/// The first row that no later one reads; the last row is the network's result.
pub(crate) fn unused_row(rows: &[Row]) -> Option<usize> {
    let mut used = vec![false; rows.len()];
    for (index, row) in rows.iter().enumerate() {
        for target in row.from.iter().filter_map(|from| earlier_row(*from, index).flatten()) {
            used[target] = true;
        }
    }
    used.pop();
    used.iter().position(|used| !used)
}

/// Whether a block has an input that none of its layers reads.
pub(crate) fn unread_input(layers: &Layers) -> bool {
    let reads = |input| {
        let source = Source::Input(input);
        layers.output_source() == source || layers.nodes().iter().any(|node| node.inputs.contains(&source))
    };
    !(0..layers.inputs().len()).all(reads)
}

struct Planner<'a> {
    spec: &'a ModelSpec,
    network: Network,
    /// Where each row's result stands in the layers.
    outputs: Vec<Source>,
    /// Remarks made so far: the same one is made once.
    remarks: BTreeSet<String>,
}

impl Planner<'_> {
    fn row(&mut self, index: usize, row: &Row) -> Result<(), Diagnostic> {
        let sources = self.sources(index, row)?;
        let shapes: Vec<Shape> = sources.iter().map(|source| self.network.layers.shape(*source)).collect();
        let count = self.spec.copies(row);
        let mut site = Site {
            inputs: shapes.clone(),
            copy: Copies { index: 0, count },
            role: Role::Row,
            network: self.spec.rules(row),
        };
        let mut planned = PlannedRow {
            from: row.from.clone(),
            repeat: count,
            module: row.block.clone(),
            arguments: row.arguments.clone(),
            inputs: shapes,
            output: site.input(),
            params: 0,
            macs: 0,
        };
        self.note_remark(index, row, &site);
        let mut sources = sources;
        for copy in 0..count {
            site.copy.index = copy;
            let layers = row.module.layers(&site).map_err(|error| self.at_block(row, error, &site))?;
            reject_unread_inputs(row, &layers)?;
            planned.params = planned.params.saturating_add(layers.params());
            planned.macs = planned.macs.saturating_add(layers.macs());
            planned.output = layers.output();
            let end = self.network.layers.splice(&format!("backbone.{index}.{copy}"), &layers, &sources);
            (sources, site.inputs) = (vec![end], vec![planned.output]);
            self.check_size(row, &planned)?;
        }
        self.note_rounding(index, row, &planned);
        self.outputs.push(sources[0]);
        self.network.rows.push(planned);
        Ok(())
    }

    /// Resolves `from`: from 0 on an earlier row, negative counts back, −1 before the first row is
    /// the image.
    fn sources(&self, index: usize, row: &Row) -> Result<Vec<Source>, Diagnostic> {
        let source = |from: &i64| match earlier_row(*from, index) {
            Some(Some(target)) => Ok(self.outputs[target]),
            Some(None) => Ok(Source::Input(0)),
            None => {
                let wanted = match index {
                    0 => "wanted -1, the image".to_owned(),
                    _ => format!("wanted 0 to {} or -1 to {}", index - 1, -(index as i64) - 1),
                };
                let message = format!("`from` {from} in row {index} is no earlier row; {wanted}");
                Err(row.place.from_diagnostic(message))
            }
        };
        row.from.iter().map(source).collect()
    }

    fn check_size(&self, row: &Row, planned: &PlannedRow) -> Result<(), Diagnostic> {
        let params = self.network.params().saturating_add(planned.params);
        let macs = self.network.macs().saturating_add(planned.macs);
        let layers = self.network.layers.nodes().len();
        let problem = if params > MAX_PARAMS {
            format!("the network has {params} parameters up to here; at most {MAX_PARAMS}")
        } else if macs > MAX_MACS {
            format!("the network has {macs} multiply-adds up to here; at most {MAX_MACS}")
        } else if layers > MAX_LAYERS || planned.output.elements() > MAX_PARAMS {
            format!("the network is too large here: {layers} layers, {} values", planned.output.elements())
        } else {
            return Ok(());
        };
        Err(row.place.diagnostic(Error::row(problem)))
    }

    fn note_remark(&mut self, index: usize, row: &Row, site: &Site) {
        let Some(remark) = row.module.remark(site) else { return };
        if self.remarks.insert(remark.clone()) {
            self.network.notes.push(format!("row {index} {}: {remark}", row.block));
        }
    }

    /// Where the network's rule made another number of the argument `out`. Blocks that take it as
    /// written give something else than the rule would.
    fn note_rounding(&mut self, index: usize, row: &Row, planned: &PlannedRow) {
        let NetworkRules { width_multiply, channel_divisor, rounding, .. } = self.spec.rules(row);
        let Some(asked) = row.module.arguments().get("out").and_then(Value::as_u64) else { return };
        let (wanted, got) = (asked as f64 * width_multiply, planned.output.channels());
        if wanted != got as f64 && round_channels(wanted, channel_divisor, rounding) == got {
            let by_width = if width_multiply == 1.0 { String::new() } else { format!(" × width {width_multiply}") };
            self.network.notes.push(format!(
                "row {index} {}: {asked}{by_width} channels became {got}, a multiple of {channel_divisor}",
                row.block
            ));
        }
    }

    fn at_block(&self, row: &Row, error: Error, site: &Site) -> Diagnostic {
        let inputs: Vec<String> = site.inputs.iter().map(Shape::to_string).collect();
        let copy = if site.copy.count > 1 { format!(", copy {}", site.copy.index + 1) } else { String::new() };
        let message = format!("{} on {}{copy}: {}", row.block, inputs.join(" and "), error.message);
        self.spec.diagnostic(row, Error { message, ..error })
    }

    fn reject_unused_rows(&self) -> Result<(), Diagnostic> {
        match unused_row(&self.spec.rows) {
            None => Ok(()),
            Some(index) => {
                let error = Error::row(format!("no later row reads row {index}, so it could not be trained"));
                Err(self.spec.rows[index].place.diagnostic(error))
            }
        }
    }
}

fn reject_unread_inputs(row: &Row, layers: &Layers) -> Result<(), Diagnostic> {
    if !unread_input(layers) {
        return Ok(());
    }
    let message = format!("{} takes one input, got {}; put Concat or Add before it", row.block, layers.inputs().len());
    Err(row.place.from_diagnostic(message))
}
