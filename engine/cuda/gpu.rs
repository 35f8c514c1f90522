//! An NVIDIA GPU: the driver and the compiler of kernels are found when the program runs.

use super::{
    device::{Device, DeviceError},
    nvrtc::Nvrtc,
    sources::{FILES, Text, joined},
    tape::{Argument, Starts, Tape},
};
use cudarc::driver::{
    CudaContext, CudaGraph, CudaSlice, CudaStream, DevicePtr, DevicePtrMut, DriverError, result,
    sys::{CUfunction, CUgraphInstantiate_flags, CUmodule, CUresult, CUstreamCaptureMode},
};
use std::{
    collections::BTreeMap,
    ffi::{CString, c_void},
    ptr, slice,
    sync::{Arc, LazyLock, Mutex, PoisonError},
    thread,
};

/// How a GPU multiplies matrices of f32.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Precision {
    /// With 10 bits of mantissa on tensor cores, sums in f32: what PyTorch does in convolutions unless told otherwise.
    /// GPUs before Ampere have no such cores, and compute in f32.
    #[default]
    Tf32,
    /// In f32.
    F32,
}

/// The oldest GPU that kernels are compiled for: compute capability 7.0, Volta, which NVRTC 13 knows no more.
const OLDEST: (i32, i32) = (7, 0);

/// One stream of a GPU.
pub struct Gpu {
    stream: Arc<CudaStream>,
    kernels: Arc<Kernels>,
    staging: Staging,
}

/// Memory of the host that stays where it is, so that the GPU copies from it by itself while the host goes on.
struct Staging {
    start: *mut u8,
    bytes: usize,
    /// What copies that may not be done yet read.
    used: usize,
}

#[expect(unsafe_code, reason = "memory of the driver is a pointer")]
// SAFETY: it belongs to one `Gpu`, which is used by one thread at a time.
unsafe impl Send for Staging {}

/// The kernels in a GPU's context. They stay for as long as the program runs.
struct Kernels(BTreeMap<String, CUfunction>);

#[expect(unsafe_code, reason = "functions of the driver are pointers")]
// SAFETY: the driver's functions may be used from any thread; the modules that they are from are never unloaded.
unsafe impl Send for Kernels {}
#[expect(unsafe_code, reason = "functions of the driver are pointers")]
// SAFETY: as above; they are only read.
unsafe impl Sync for Kernels {}

/// What was compiled already, by number of the GPU and precision.
type Compiled = BTreeMap<(usize, Precision), Arc<Kernels>>;
static KERNELS: LazyLock<Mutex<Compiled>> = LazyLock::new(Mutex::default);

/// Machine code, and the names of the kernels in it.
struct Binary {
    code: Vec<u8>,
    kernels: Vec<String>,
}

impl Gpu {
    /// The GPU with this number, and a stream of its own on it.
    ///
    /// # Errors
    /// When there is no driver, no such GPU, or no compiler of kernels.
    pub fn new(number: usize, precision: Precision) -> Result<Self, DeviceError> {
        check(number)?;
        let context = CudaContext::new(number).map_err(|error| failed("opening the GPU", error))?;
        // SAFETY: all work of an engine is on one stream, and its memory is no other's.
        #[expect(unsafe_code, reason = "it would cost two events for each allocation")]
        unsafe {
            context.disable_event_tracking();
        }
        let mut compiled = KERNELS.lock().unwrap_or_else(PoisonError::into_inner);
        let kernels = match compiled.get(&(number, precision)) {
            Some(kernels) => kernels.clone(),
            None => {
                let kernels = Arc::new(load(&context, precision)?);
                compiled.insert((number, precision), kernels.clone());
                kernels
            }
        };
        let stream = context.new_stream().map_err(|error| failed("a stream", error))?;
        Ok(Self { stream, kernels, staging: Staging { start: ptr::null_mut(), bytes: 0, used: 0 } })
    }

    /// Waits until all that was asked for is done.
    fn wait(&mut self) -> Result<(), DeviceError> {
        self.stream.synchronize().map_err(|error| failed("the GPU", error))?;
        self.staging.used = 0;
        Ok(())
    }

    /// Copies `bytes` to where the GPU can read them by itself.
    fn stage(&mut self, bytes: &[u8]) -> Result<*const u8, DeviceError> {
        if self.staging.used + bytes.len() > self.staging.bytes {
            self.wait()?;
        }
        if bytes.len() > self.staging.bytes {
            self.free_staging();
            let room = bytes.len().next_power_of_two().max(1 << 20);
            // SAFETY: the context is bound to this thread.
            #[expect(unsafe_code, reason = "the driver's interface is C")]
            let start = unsafe { result::malloc_host(room, 0) };
            let start = start.map_err(|error| failed("memory to copy from", error))?.cast::<u8>();
            self.staging = Staging { start, bytes: room, used: 0 };
        }
        // SAFETY: there is room for so many bytes after `used`, which no copy reads.
        #[expect(unsafe_code, reason = "memory of the driver is a pointer")]
        unsafe {
            let place = self.staging.start.add(self.staging.used);
            place.copy_from_nonoverlapping(bytes.as_ptr(), bytes.len());
            self.staging.used += bytes.len();
            Ok(place)
        }
    }

    fn free_staging(&mut self) {
        let start = std::mem::replace(&mut self.staging.start, ptr::null_mut());
        self.staging.bytes = 0;
        if !start.is_null() && self.stream.context().bind_to_thread().is_ok() {
            // SAFETY: it came from `malloc_host`, and no copy reads it any more: the stream was waited for. What the
            // driver says of it cannot be mended.
            #[expect(unsafe_code, reason = "the driver's interface is C")]
            let _ = unsafe { result::free_host(start.cast()) };
        }
    }
}

impl Drop for Gpu {
    fn drop(&mut self) {
        let _ = self.stream.synchronize();
        self.free_staging();
    }
}

/// Whether the GPU with this number can be used.
///
/// # Errors
/// When there is no driver, no such GPU, or no compiler of kernels.
pub fn check(number: usize) -> Result<(), DeviceError> {
    compiler()?;
    let gpus = CudaContext::device_count().map_err(|error| failed("the driver", error))?;
    if number >= usize::try_from(gpus).unwrap_or(0) {
        return Err(DeviceError(format!("wanted GPU {number}, the driver knows {gpus} (they count from 0)")));
    }
    Ok(())
}

/// Bytes that are free on the GPU with this number; `None` where it does not say.
pub fn free_bytes(number: usize) -> Option<u64> {
    check(number).ok()?;
    let (free, _) = CudaContext::new(number).ok()?.mem_get_info().ok()?;
    Some(free as u64)
}

/// Finds the compiler of kernels, once the driver is known to be there.
fn compiler() -> Result<Nvrtc, DeviceError> {
    #[expect(unsafe_code, reason = "loading a library runs what it says")]
    // SAFETY: this is NVIDIA's own library.
    if !unsafe { cudarc::driver::sys::is_culib_present() } {
        return Err(DeviceError(
            "no NVIDIA driver was found (libcuda.so.1): install one (`nvidia-smi` then shows the GPU)".into(),
        ));
    }
    Nvrtc::find().ok_or_else(|| {
        DeviceError(
            "the compiler of kernels was not found (libnvrtc.so): install the CUDA toolkit, or `pip install \
             nvidia-cuda-nvrtc` and name the folder of its library in LD_LIBRARY_PATH"
                .into(),
        )
    })
}

fn failed(what: &str, error: DriverError) -> DeviceError {
    let text = error.error_string().map_or_else(|_| format!("{error:?}"), |text| text.to_string_lossy().into_owned());
    DeviceError(format!("{what}: {text}"))
}

/// Compiles all kernels for the GPU that is there, and loads them.
fn load(context: &Arc<CudaContext>, precision: Precision) -> Result<Kernels, DeviceError> {
    let capability = context.compute_capability().map_err(|error| failed("the GPU", error))?;
    if capability < OLDEST {
        let ((major, minor), name) = (capability, context.name().unwrap_or_default());
        return Err(DeviceError(format!("{name} has compute capability {major}.{minor}, wanted 7.0 (Volta) or newer")));
    }
    context.bind_to_thread().map_err(|error| failed("the GPU", error))?;
    let compiler = &compiler()?;
    let compile = |texts| compiled(compiler, texts, capability, precision);
    let binaries: Vec<Result<Binary, DeviceError>> = thread::scope(|scope| {
        let threads = FILES.map(|texts| scope.spawn(move || compile(texts)));
        threads.into_iter().map(|thread| thread.join().expect("a compilation does not panic")).collect()
    });
    let mut kernels = BTreeMap::new();
    for binary in binaries {
        let Binary { code, kernels: names } = binary?;
        #[expect(unsafe_code, reason = "the driver's interface is C")]
        // SAFETY: the binary is what the compiler gave, and lives until it is loaded.
        let module: CUmodule = unsafe { result::module::load_data(code.as_ptr().cast::<c_void>()) }
            .map_err(|error| failed("loading kernels", error))?;
        for name in names {
            let symbol = CString::new(name.clone()).expect("names of kernels have no zeros");
            #[expect(unsafe_code, reason = "the driver's interface is C")]
            // SAFETY: the module was loaded just now, and stays.
            let function = unsafe { result::module::get_function(module, symbol) }
                .map_err(|error| failed(&format!("kernel {name}"), error))?;
            kernels.insert(name, function);
        }
    }
    Ok(Kernels(kernels))
}

/// What NVRTC is asked to compile for.
fn options((major, minor): (i32, i32), precision: Precision) -> Vec<String> {
    let mut options = vec![format!("--gpu-architecture=sm_{major}{minor}")];
    // What has no mark, such as the functions that generic lambdas are, runs on the GPU.
    options.extend(["--std=c++17", "--device-as-default-execution-space"].map(str::to_owned));
    if precision == Precision::Tf32 && major >= 8 {
        options.push("-DNASGEN_TF32".to_owned());
    }
    options
}

/// The binary of some texts together.
fn compiled(
    compiler: &Nvrtc,
    texts: &[Text],
    capability: (i32, i32),
    precision: Precision,
) -> Result<Binary, DeviceError> {
    let name = texts.last().map_or("", |(name, _)| name);
    let code = compiler.compile(name, &joined(texts), &options(capability, precision))?;
    Ok(Binary { kernels: kernels_of(&code), code })
}

/// The kernels of a binary have sections of code that are called `.text.` and their name.
fn kernels_of(code: &[u8]) -> Vec<String> {
    const SECTION: &[u8] = b".text.";
    let mut names: Vec<String> = Vec::new();
    for (at, _) in code.windows(SECTION.len()).enumerate().filter(|(_, window)| *window == SECTION) {
        let rest = &code[at + SECTION.len()..];
        let end = rest.iter().position(|byte| *byte == 0).unwrap_or(rest.len());
        names.extend(String::from_utf8(rest[..end].to_vec()).ok().filter(|name| !names.contains(name)));
    }
    names
}

/// A recorded graph, or for want of launches nothing.
pub struct GpuRecording(Option<CudaGraph>);

#[expect(unsafe_code, reason = "a graph is a pointer of the driver")]
// SAFETY: a recording belongs to one engine, which is used by one thread at a time.
unsafe impl Send for GpuRecording {}

impl Device for Gpu {
    type Memory = CudaSlice<u8>;
    type Recording = GpuRecording;

    fn allocate(&mut self, bytes: usize) -> Result<CudaSlice<u8>, DeviceError> {
        self.stream.alloc_zeros(bytes).map_err(|error| match error {
            DriverError(CUresult::CUDA_ERROR_OUT_OF_MEMORY) => {
                let free = self.stream.context().mem_get_info().map_or(0, |(free, _)| free);
                let mib = |bytes: usize| bytes.div_ceil(1 << 20);
                DeviceError(format!(
                    "the GPU has no room for {} MiB ({} MiB are free): use smaller batches (--batch)",
                    mib(bytes),
                    mib(free)
                ))
            }
            error => failed("allocating memory", error),
        })
    }

    fn free(&self) -> Option<u64> {
        self.stream.context().mem_get_info().ok().map(|(free, _)| free as u64)
    }

    fn write(&mut self, memory: &mut CudaSlice<u8>, offset: usize, bytes: &[u8]) -> Result<(), DeviceError> {
        if bytes.is_empty() {
            return Ok(());
        }
        assert!(offset + bytes.len() <= memory.len(), "a write beyond the end of its memory");
        self.stream.context().bind_to_thread().map_err(|error| failed("the GPU", error))?;
        let staged = self.stage(bytes)?;
        let place = memory.device_ptr_mut(&self.stream).0 + offset as u64;
        // SAFETY: both places have room for so many bytes, and the staged ones stay until the stream was waited for.
        #[expect(unsafe_code, reason = "the driver's interface is C")]
        let copied = unsafe {
            let staged = slice::from_raw_parts(staged, bytes.len());
            result::memcpy_htod_async(place, staged, self.stream.cu_stream())
        };
        copied.map_err(|error| failed("writing to the GPU", error))
    }

    fn read(&mut self, memory: &CudaSlice<u8>, offset: usize, bytes: &mut [u8]) -> Result<(), DeviceError> {
        let place = memory.slice(offset..offset + bytes.len());
        self.stream.memcpy_dtoh(&place, bytes).map_err(|error| failed("reading from the GPU", error))?;
        self.wait()
    }

    fn record(
        &mut self,
        tape: &Tape,
        fixed: &CudaSlice<u8>,
        passing: &CudaSlice<u8>,
        given: Option<&CudaSlice<u8>>,
    ) -> Result<GpuRecording, DeviceError> {
        let start = |memory: &CudaSlice<u8>| memory.device_ptr(&self.stream).0;
        let starts = Starts { fixed: start(fixed), passing: start(passing), given: given.map_or(0, start) };
        let during = |error| failed("recording a step", error);
        self.stream.begin_capture(CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_THREAD_LOCAL).map_err(during)?;
        let launched = self.launch(tape, starts);
        // A capture that was begun is ended, whatever happened.
        let graph = self.stream.end_capture(CUgraphInstantiate_flags(0));
        launched?;
        let graph = graph.map_err(during)?;
        if let Some(graph) = &graph {
            graph.upload().map_err(during)?;
        }
        Ok(GpuRecording(graph))
    }

    fn play(&mut self, recording: &GpuRecording) -> Result<(), DeviceError> {
        let Some(graph) = &recording.0 else { return Ok(()) };
        graph.launch().map_err(|error| failed("running a step", error))
    }
}

impl Gpu {
    fn launch(&self, tape: &Tape, starts: Starts) -> Result<(), DeviceError> {
        for launch in &tape.launches {
            let words: Vec<Vec<u64>> = launch.arguments.iter().map(|argument| words(argument, tape, starts)).collect();
            let mut arguments: Vec<*mut c_void> =
                words.iter().map(|words| words.as_ptr().cast_mut().cast::<c_void>()).collect();
            let function = self.kernels.0.get(&launch.kernel);
            let function = *function.ok_or_else(|| DeviceError(format!("there is no kernel `{}`", launch.kernel)))?;
            let [x, y, z] = launch.grid.map(|blocks| blocks as u32);
            #[expect(unsafe_code, reason = "the driver's interface is C")]
            // SAFETY: the arguments are those that the kernel declares (the tests run every kernel with them), and point
            // into memory that lives as long as the engine.
            unsafe {
                result::launch_kernel(
                    function,
                    (x, y, z),
                    (launch.threads as u32, 1, 1),
                    0,
                    self.stream.cu_stream(),
                    &mut arguments,
                )
            }
            .map_err(|error| failed(&format!("launching {}", launch.kernel), error))?;
        }
        Ok(())
    }
}

/// An argument as it lies in memory.
pub(super) fn words(argument: &Argument, tape: &Tape, starts: Starts) -> Vec<u64> {
    match argument {
        Argument::Pointer(place) => vec![tape.address(*place, starts)],
        Argument::Int(value) => vec![u64::from(value.cast_unsigned())],
        Argument::Float(value) => vec![u64::from(value.to_bits())],
        Argument::Words(values) => {
            let mut words = vec![0u64; values.len().div_ceil(2)];
            bytemuck::cast_slice_mut::<u64, i32>(&mut words)[..values.len()].copy_from_slice(values);
            words
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rayon::prelude::*;

    /// The kernels of a text that stand there by name, not through a macro.
    fn declared(text: &str) -> Vec<String> {
        let exported = text.split("EXPORT(").skip(1).filter_map(|rest| rest.split(')').next());
        exported.filter(|name| !name.contains('#')).map(str::to_owned).collect()
    }

    /// Turing to Blackwell: needs the compiler and no GPU. `NASGEN_REQUIRE=nvrtc` makes its absence a failure.
    #[test]
    fn every_gpu_is_compiled_for() {
        let Some(compiler) = Nvrtc::find() else {
            let required = std::env::var("NASGEN_REQUIRE").unwrap_or_default();
            assert!(!required.split(',').any(|name| name == "nvrtc"), "NASGEN_REQUIRE names nvrtc, which is not found");
            return;
        };
        let gpus = [
            ((7, 5), Precision::Tf32),
            ((8, 0), Precision::Tf32),
            ((9, 0), Precision::F32),
            ((9, 0), Precision::Tf32),
            ((12, 0), Precision::Tf32),
        ];
        let all: Vec<_> = gpus.into_iter().flat_map(|gpu| FILES.map(|texts| (gpu, texts))).collect();
        all.into_par_iter().for_each(|((capability, precision), texts)| {
            let Binary { code, kernels } = compiled(&compiler, texts, capability, precision).unwrap();
            let (file, text) = texts.last().unwrap();
            assert!(!code.is_empty() && !kernels.is_empty(), "{file} for {capability:?}");
            for kernel in declared(text) {
                assert!(kernels.contains(&kernel), "{file} for {capability:?} has no {kernel}: {kernels:?}");
            }
        });
    }
}
