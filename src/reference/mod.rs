//! The reference executor: plain candle autograd, right and readable first. The oracle of every
//! faster executor's tests.

mod operations;
mod optimizer;
mod taps;

use crate::{
    data::Batch,
    train::{Executor, ExecutorError, Freezing, OptimizerRule, State, Step, StepResult},
    weights::{Array, Weights},
};
use candle_core::{D, Device, Result, Tensor, Var};
use nasgen_modules::{Layers, Node, Norm, Primitive, Shape, Source, TensorRole, randomness::Stream};
use optimizer::Optimizer;
use std::collections::BTreeMap;

/// A network's layers with weights on a candle device.
pub struct Reference {
    layers: Layers,
    parameters: BTreeMap<String, Var>,
    statistics: BTreeMap<String, Tensor>,
    optimizer: Optimizer,
    /// Sums of the gradients of batches that the optimizer has not seen yet.
    waiting: BTreeMap<String, Tensor>,
    freezing: Freezing,
    seed: u64,
    device: Device,
}

/// How a network is run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// With running statistics; nothing is dropped.
    Evaluation,
    /// With the batch's statistics; what is dropped depends on the step.
    Training {
        /// Number of the step in the whole training.
        step: u64,
    },
}

impl Reference {
    /// Puts `weights` on `device`. `seed` decides what dropout and stochastic depth drop.
    ///
    /// # Errors
    /// When a tensor is missing or has another shape, or the device has no room.
    pub fn new(layers: &Layers, weights: &Weights, rule: OptimizerRule, seed: u64, device: &Device) -> Result<Self> {
        let misfits = weights.misfits(layers);
        if let Some(first) = misfits.first() {
            candle_core::bail!("the weights do not fit the network: {first} ({} in all)", misfits.len());
        }
        let (mut parameters, mut statistics) = (BTreeMap::new(), BTreeMap::new());
        let specs = layers.tensors();
        for spec in &specs {
            let Some(array) = weights.get(&spec.name) else { continue };
            let tensor = Tensor::from_slice(&array.values, array.shape.as_slice(), device)?;
            match spec.role {
                TensorRole::Statistic => {
                    statistics.insert(spec.name.clone(), tensor);
                }
                TensorRole::Parameter { .. } => {
                    parameters.insert(spec.name.clone(), Var::from_tensor(&tensor)?);
                }
            }
        }
        let optimizer = Optimizer::new(rule, &specs);
        Ok(Self {
            layers: layers.clone(),
            parameters,
            statistics,
            optimizer,
            waiting: BTreeMap::new(),
            freezing: Freezing::default(),
            seed,
            device: device.clone(),
        })
    }

    /// Runs the network. Training updates the running statistics.
    pub fn forward(&mut self, inputs: &[Tensor], mode: Mode) -> Result<Tensor> {
        let layers = self.layers.clone();
        let mut results: Vec<Tensor> = Vec::with_capacity(layers.nodes().len());
        for (index, node) in layers.nodes().iter().enumerate() {
            let fetch = |source: &Source| match source {
                Source::Input(input) => inputs[*input].clone(),
                Source::Node(node) => results[*node].clone(),
            };
            let values: Vec<Tensor> = node.inputs.iter().map(fetch).collect();
            results.push(self.node(index, node, &values, mode)?);
        }
        Ok(match layers.output_source() {
            Source::Input(input) => inputs[input].clone(),
            Source::Node(node) => results.swap_remove(node),
        })
    }

    /// The first layer, in the network's order, with a NaN or an infinity among its parameters, its
    /// running statistics (in evaluation mode) or its results, and which of them it is.
    ///
    /// # Errors
    /// When the network cannot be run.
    pub fn first_bad_layer(&mut self, batch: &Batch, mode: Mode) -> Result<Option<BadLayer>> {
        let input = self.images(batch)?;
        let layers = self.layers.clone();
        let mut results: Vec<Tensor> = Vec::with_capacity(layers.nodes().len());
        for (index, node) in layers.nodes().iter().enumerate() {
            let fetch = |source: &Source| match source {
                Source::Input(_) => input.clone(),
                Source::Node(node) => results[*node].clone(),
            };
            let values: Vec<Tensor> = node.inputs.iter().map(fetch).collect();
            let found = |what: &'static str| Some(BadLayer { label: node.label.clone(), what });
            let owned = format!("{}.", node.label);
            let of_node = |name: &String| name.strip_prefix(&owned).is_some_and(|rest| !rest.contains('.'));
            for (_, parameter) in self.parameters.iter().filter(|(name, _)| of_node(name)) {
                if !is_finite(parameter.as_tensor())? {
                    return Ok(found("parameters"));
                }
            }
            let statistics = self.statistics.iter().filter(|(name, _)| mode == Mode::Evaluation && of_node(name));
            for (_, statistic) in statistics {
                if !is_finite(statistic)? {
                    return Ok(found("running statistics"));
                }
            }
            let result = self.node(index, node, &values, mode)?.detach();
            if !is_finite(&result)? {
                return Ok(found("results"));
            }
            results.push(result);
        }
        Ok(None)
    }

    /// Gradients of the parameters that `loss` depends on, by name.
    pub fn gradients(&self, loss: &Tensor) -> Result<BTreeMap<String, Tensor>> {
        let store = loss.backward()?;
        let gradient = |(name, var): (&String, &Var)| Some((name.clone(), store.get(var.as_tensor())?.clone()));
        Ok(self.parameters.iter().filter_map(gradient).collect())
    }

    fn node(&mut self, index: usize, node: &Node, inputs: &[Tensor], mode: Mode) -> Result<Tensor> {
        let mode = if self.freezing.is_frozen(&node.label) { Mode::Evaluation } else { mode };
        let x = &inputs[0];
        let size = node.output.size().unwrap_or([1, 1]);
        match &node.primitive {
            Primitive::Convolution(convolution) => {
                let bias = if convolution.bias { Some(self.parameter(node, "bias")?) } else { None };
                operations::convolution(x, convolution, size, &self.parameter(node, "weight")?, bias.as_ref())
            }
            Primitive::Norm(norm) => self.norm(node, x, norm, mode),
            Primitive::Activation(activation) => operations::activation(x, *activation),
            Primitive::MaxPool { window, .. } => operations::max_pool(x, window, size),
            Primitive::AveragePool { window, count_include_pad, .. } => {
                operations::average_pool(x, window, size, *count_include_pad)
            }
            Primitive::AdaptiveAveragePool { output } => operations::adaptive_average_pool(x, *output),
            Primitive::AdaptiveMaxPool { output } => operations::adaptive_max_pool(x, *output),
            Primitive::Linear { .. } => {
                let weight = self.parameter(node, "weight")?.t()?;
                x.matmul(&weight)?.broadcast_add(&self.parameter(node, "bias")?)
            }
            Primitive::Flatten => x.flatten_from(1),
            Primitive::Dropout { probability } => self.dropout(index, x, *probability, mode),
            Primitive::Scale => x.broadcast_mul(&inputs[1]),
            Primitive::Add { drop } => {
                let mut sum = x.clone();
                for branch in &inputs[1..] {
                    sum = (sum + self.stochastic_depth(index, branch, *drop, mode)?)?;
                }
                Ok(sum)
            }
            Primitive::Concat => Tensor::cat(inputs, 1),
            Primitive::ChannelSlice { start, length } => x.narrow(1, *start, *length),
            Primitive::ChannelShuffle { groups } => operations::channel_shuffle(x, *groups),
            Primitive::ChannelConvolution { kernel } => {
                operations::channel_convolution(x, *kernel, &self.parameter(node, "weight")?)
            }
            Primitive::Upsample { factor } => operations::upsample(x, *factor),
            Primitive::Custom(custom) => {
                let shapes = self.layers.input_shapes(node);
                let tensors = custom.operation().tensors(&shapes);
                let parameters = tensors.iter().map(|tensor| self.parameter(node, &tensor.name));
                custom.operation().forward(inputs, &parameters.collect::<Result<Vec<_>>>()?)
            }
        }
    }

    fn parameter(&self, node: &Node, name: &str) -> Result<Tensor> {
        let name = format!("{}.{name}", node.label);
        match self.parameters.get(&name) {
            // No gradient goes into what is frozen, nor through it.
            Some(var) if self.freezing.is_frozen(&name) => Ok(var.as_tensor().detach()),
            Some(var) => Ok(var.as_tensor().clone()),
            None => candle_core::bail!("the network has no tensor `{name}`"),
        }
    }

    /// Batch normalisation (Ioffe and Szegedy 2015): biased variance to normalise, unbiased for the
    /// running statistics, as PyTorch.
    fn norm(&mut self, node: &Node, x: &Tensor, norm: &Norm, mode: Mode) -> Result<Tensor> {
        let (batch, channels, ..) = x.dims4()?;
        let pixels = x.flatten_from(2)?;
        let names = ["running_mean", "running_var"].map(|name| format!("{}.{name}", node.label));
        let (mean, variance) = match mode {
            Mode::Evaluation => (self.statistics[&names[0]].clone(), self.statistics[&names[1]].clone()),
            Mode::Training { .. } => {
                let count = x.elem_count() / channels;
                if count < 2 {
                    candle_core::bail!("`{}`: a norm in training needs more than one value per channel", node.label);
                }
                let mean = pixels.mean(2)?.mean(0)?;
                let centred = pixels.broadcast_sub(&operations::per_channel(&mean, batch)?)?;
                let variance = centred.sqr()?.mean(2)?.mean(0)?;
                let unbiased = (variance.detach() * (count as f64 / (count - 1) as f64))?;
                for (name, newest) in names.into_iter().zip([mean.detach(), unbiased]) {
                    let running = (&self.statistics[&name] * (1.0 - norm.momentum))?;
                    let running = (running + (newest * norm.momentum)?)?;
                    self.statistics.insert(name, running);
                }
                (mean, variance)
            }
        };
        let scale = (self.parameter(node, "weight")? / (variance + norm.eps)?.sqrt()?)?;
        let shift = (self.parameter(node, "bias")? - (mean * &scale)?)?;
        let scaled = pixels.broadcast_mul(&operations::per_channel(&scale, batch)?)?;
        scaled.broadcast_add(&operations::per_channel(&shift, batch)?)?.reshape(x.shape())
    }

    fn dropout(&self, index: usize, x: &Tensor, probability: f64, mode: Mode) -> Result<Tensor> {
        let Mode::Training { step } = mode else { return Ok(x.clone()) };
        x * self.kept(index, x.elem_count(), probability, step)?.reshape(x.shape())?
    }

    fn stochastic_depth(&self, index: usize, branch: &Tensor, drop: f64, mode: Mode) -> Result<Tensor> {
        match mode {
            Mode::Training { step } if drop > 0.0 => {
                let mut shape = vec![1; branch.rank()];
                shape[0] = branch.dim(0)?;
                branch.broadcast_mul(&self.kept(index, shape[0], drop, step)?.reshape(shape)?)
            }
            _ => Ok(branch.clone()),
        }
    }

    /// 0 with `probability`, else the factor that keeps the mean.
    fn kept(&self, index: usize, count: usize, probability: f64, step: u64) -> Result<Tensor> {
        let stream = Stream::new(self.seed, "dropout");
        let factor = (1.0 / (1.0 - probability)) as f32;
        let keep = |element: u64| {
            let dropped = f64::from(stream.at_step(step, index as u32, element)) < probability;
            if dropped { 0.0 } else { factor }
        };
        Tensor::from_vec((0..count as u64).map(keep).collect::<Vec<f32>>(), count, &self.device)
    }

    fn images(&self, batch: &Batch) -> Result<Tensor> {
        Tensor::from_slice(&batch.images, &batch.shape[..], &self.device)
    }

    /// Images × classes, whether the network ends in a vector or in C×1×1.
    fn class_scores(&mut self, batch: &Batch, mode: Mode) -> Result<Tensor> {
        let images = self.images(batch)?;
        self.forward(&[images], mode)?.flatten_from(1)
    }

    fn step(&mut self, batch: &Batch, step: &Step<'_>) -> Result<StepResult> {
        let scores = self.class_scores(batch, Mode::Training { step: step.index })?;
        let labels = Tensor::from_slice(&batch.labels, batch.labels.len(), &self.device)?;
        let targets = step.objective.targets(batch).map_err(candle_core::Error::msg)?;
        let targets = Tensor::from_slice(&targets, (batch.labels.len(), step.objective.classes), &self.device)?;
        let loss = operations::objective(&scores, &targets, step.objective)?;
        let correct = scores.argmax(D::Minus1)?.eq(&labels)?.to_dtype(candle_core::DType::U32)?.sum_all()?;
        let value = f64::from(loss.to_scalar::<f32>()?);
        if value.is_finite() {
            let gradients = self.gradients(&loss)?;
            self.update(gradients, step)?;
        }
        Ok(StepResult { loss: value, correct: correct.to_scalar::<u32>()? as usize })
    }

    /// Moves the parameters, or keeps the gradients until enough batches have come.
    fn update(&mut self, mut gradients: BTreeMap<String, Tensor>, step: &Step<'_>) -> Result<()> {
        if step.waiting > 0 {
            for (name, gradient) in &mut gradients {
                if let Some(sum) = self.waiting.get(name) {
                    *gradient = (&*gradient + sum)?;
                }
            }
        }
        if !step.update {
            self.waiting = gradients.into_iter().map(|(name, gradient)| (name, gradient.detach())).collect();
            return Ok(());
        }
        let mut factor = 1.0 / (step.waiting + 1) as f64;
        if let Some(most) = step.clip {
            let squares = gradients.values().map(|gradient| gradient.sqr()?.sum_all()?.to_scalar::<f32>());
            let squares = squares.map(|sum| sum.map(f64::from)).sum::<Result<f64>>()?;
            // As `torch.nn.utils.clip_grad_norm_`.
            factor *= (most / (squares.sqrt() * factor + 1e-6)).min(1.0);
        }
        if factor != 1.0 {
            for gradient in gradients.values_mut() {
                *gradient = (&*gradient * factor)?;
            }
        }
        self.optimizer.step(&self.parameters, &gradients, &self.freezing, step.learning_rate)
    }

    fn put_back(&mut self, state: &State) -> Result<()> {
        let tensor = |tensors: &Weights, name: &str, shape: &[usize]| match tensors.get(name) {
            Some(array) if array.shape == shape => Tensor::from_slice(&array.values, shape, &self.device),
            Some(array) => candle_core::bail!("`{name}`: wanted shape {shape:?}, got {:?}", array.shape),
            None => candle_core::bail!("`{name}` is missing"),
        };
        self.optimizer.moments.clear();
        for (name, parameter) in &self.parameters {
            let shape = parameter.dims();
            parameter.set(&tensor(&state.weights, name, shape)?)?;
            let names = self.optimizer.moment_names().iter().map(|moment| format!("{moment}.{name}"));
            // A parameter that has had no gradient yet has no moments either.
            let names: Vec<String> = names.filter(|name| state.moments.get(name).is_some()).collect();
            if !names.is_empty() {
                let moments = names.iter().map(|name| tensor(&state.moments, name, shape)).collect::<Result<_>>()?;
                self.optimizer.moments.insert(name.clone(), moments);
            }
        }
        for (name, statistic) in &mut self.statistics {
            *statistic = tensor(&state.weights, name, statistic.dims())?;
        }
        self.optimizer.steps = i32::try_from(state.optimizer_steps).unwrap_or(i32::MAX);
        Ok(())
    }

    fn snapshot(&self) -> Result<Weights> {
        let parameters = self.parameters.iter().map(|(name, var)| (name, var.as_tensor()));
        let tensors = parameters.chain(&self.statistics);
        tensors.map(|(name, tensor)| Ok((name.clone(), to_array(tensor)?))).collect()
    }
}

/// A layer with a value that is NaN or infinite.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadLayer {
    /// Its place in the network: the first part of its tensors' names.
    pub label: String,
    /// Which of its values: `parameters`, `running statistics` or `results`.
    pub what: &'static str,
}

fn is_finite(tensor: &Tensor) -> Result<bool> {
    // Zero times anything finite is zero; NaN and infinity give NaN, which a sum keeps.
    Ok((tensor * 0.0)?.sum_all()?.to_scalar::<f32>()? == 0.0)
}

fn to_array(tensor: &Tensor) -> Result<Array> {
    Ok(Array { shape: tensor.dims().to_vec(), values: tensor.flatten_all()?.to_vec1()? })
}

impl Executor for Reference {
    fn name(&self) -> &'static str {
        "reference"
    }

    fn train_step(&mut self, batch: &Batch, step: &Step<'_>) -> std::result::Result<StepResult, ExecutorError> {
        Ok(self.step(batch, step)?)
    }

    fn scores(&mut self, batch: &Batch) -> std::result::Result<Vec<f32>, ExecutorError> {
        Ok(self.class_scores(batch, Mode::Evaluation)?.flatten_all()?.to_vec1()?)
    }

    fn weights(&mut self) -> std::result::Result<Weights, ExecutorError> {
        Ok(self.snapshot()?)
    }

    fn state(&mut self) -> std::result::Result<State, ExecutorError> {
        let Self { optimizer, .. } = &*self;
        let named = optimizer.moment_names();
        let moments = optimizer.moments.iter().flat_map(|(parameter, tensors)| {
            named.iter().zip(tensors).map(move |(moment, tensor)| (format!("{moment}.{parameter}"), tensor))
        });
        let moments = moments.map(|(name, tensor)| Ok((name, to_array(tensor)?))).collect::<Result<_>>()?;
        Ok(State { weights: self.snapshot()?, moments, optimizer_steps: optimizer.steps as u64 })
    }

    fn restore(&mut self, state: &State) -> std::result::Result<(), ExecutorError> {
        Ok(self.put_back(state)?)
    }

    fn freeze(&mut self, freezing: &Freezing) {
        self.freezing = freezing.clone();
    }
}

impl From<candle_core::Error> for ExecutorError {
    fn from(error: candle_core::Error) -> Self {
        Self(error.to_string())
    }
}

/// The shape of a batch of `images` of this shape.
pub fn batch_shape(images: usize, shape: Shape) -> Vec<usize> {
    [vec![images], shape.dims()].concat()
}
