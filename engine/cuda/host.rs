//! Runs tapes on a CPU: the kernels' texts, compiled by a C++ compiler when the program runs, thread after thread. Slow,
//! for tests on machines without a GPU.

use super::{
    device::{Device, DeviceError},
    gpu::words,
    sources::{FILES, PRELUDE, PRODUCT, joined},
    tape::{Launch, Starts, Tape},
};
use libloading::Library;
use std::{
    collections::{BTreeMap, btree_map::Entry},
    ffi::{c_int, c_void},
    fs,
    process::Command,
    sync::{Arc, LazyLock, Mutex, PoisonError},
};

/// Kernels on a CPU.
pub struct Host {
    library: Arc<Library>,
    order: Order,
}

/// In which order the threads of a launch run. Results that depend on it would depend on chance on a GPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// The first thread of the first block first.
    Ascending,
    /// The last thread of the last block first.
    Descending,
}

/// How matrices are multiplied.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Arithmetic {
    /// In f32.
    Exact,
    /// As tensor cores do with f32: 10 bits of mantissa.
    Tf32,
}

const HEADER: &str = include_str!("kernels/host.h");

/// The kernels that were compiled already.
static LIBRARIES: LazyLock<Mutex<BTreeMap<Arithmetic, Arc<Library>>>> = LazyLock::new(Mutex::default);

impl Host {
    /// Compiles the kernels, once for each kind of arithmetic.
    ///
    /// # Errors
    /// When there is no `c++`, or it does not take them.
    pub fn new(arithmetic: Arithmetic, order: Order) -> Result<Self, DeviceError> {
        let mut libraries = LIBRARIES.lock().unwrap_or_else(PoisonError::into_inner);
        let library = match libraries.entry(arithmetic) {
            Entry::Occupied(library) => library.get().clone(),
            Entry::Vacant(place) => place.insert(Arc::new(compile(arithmetic).map_err(DeviceError)?)).clone(),
        };
        Ok(Self { library, order })
    }
}

fn compile(arithmetic: Arithmetic) -> Result<Library, String> {
    let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
    let own = FILES.iter().filter_map(|texts| texts.last());
    let text = joined([&PRELUDE, &PRODUCT].into_iter().chain(own));
    for (name, text) in [("host.h", HEADER.to_owned()), ("kernels.cpp", text)] {
        fs::write(folder.path().join(name), text).map_err(|error| error.to_string())?;
    }
    let mut compiler = Command::new("c++");
    compiler.args(["-std=c++17", "-O2", "-fPIC", "-shared", "-w", "-DNASGEN_HOST", "-o", "kernels.so", "kernels.cpp"]);
    if arithmetic == Arithmetic::Tf32 {
        compiler.arg("-DNASGEN_TF32");
    }
    let done = compiler.current_dir(folder.path()).output().map_err(|error| format!("c++: {error}"))?;
    if !done.status.success() {
        return Err(format!("c++ does not take the kernels: {}", String::from_utf8_lossy(&done.stderr)));
    }
    // SAFETY: what is loaded are our own kernels, which do nothing when they are loaded.
    #[expect(unsafe_code, reason = "loading a library runs what it says")]
    unsafe { Library::new(folder.path().join("kernels.so")) }.map_err(|error| error.to_string())
}

/// Memory with room for the alignment that devices have.
pub struct HostMemory {
    blocks: Box<[Block]>,
}

#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C, align(256))]
struct Block([u8; 256]);

impl HostMemory {
    fn address(&self) -> u64 {
        self.blocks.as_ptr() as u64
    }
}

/// A launch whose arguments are values.
struct Call {
    kernel: String,
    grid: [c_int; 3],
    threads: c_int,
    /// Each as it lies in memory.
    arguments: Vec<Vec<u64>>,
}

/// Launches whose places are addresses.
pub struct HostRecording(Vec<Call>);

impl Device for Host {
    type Memory = HostMemory;
    type Recording = HostRecording;

    fn allocate(&mut self, bytes: usize) -> Result<HostMemory, DeviceError> {
        let blocks = vec![Block([0; 256]); bytes.div_ceil(size_of::<Block>())].into_boxed_slice();
        Ok(HostMemory { blocks })
    }

    fn free(&self) -> Option<u64> {
        None
    }

    fn write(&mut self, memory: &mut HostMemory, offset: usize, bytes: &[u8]) -> Result<(), DeviceError> {
        bytemuck::cast_slice_mut::<Block, u8>(&mut memory.blocks)[offset..][..bytes.len()].copy_from_slice(bytes);
        Ok(())
    }

    fn read(&mut self, memory: &HostMemory, offset: usize, bytes: &mut [u8]) -> Result<(), DeviceError> {
        bytes.copy_from_slice(&bytemuck::cast_slice::<Block, u8>(&memory.blocks)[offset..][..bytes.len()]);
        Ok(())
    }

    fn record(
        &mut self,
        tape: &Tape,
        fixed: &HostMemory,
        passing: &HostMemory,
        given: Option<&HostMemory>,
    ) -> Result<HostRecording, DeviceError> {
        let [fixed, passing] = [fixed, passing].map(HostMemory::address);
        let starts = Starts { fixed, passing, given: given.map_or(0, HostMemory::address) };
        let call = |launch: &Launch| Call {
            kernel: format!("host_{}", launch.kernel),
            grid: launch.grid.map(|blocks| blocks as c_int),
            threads: launch.threads as c_int,
            arguments: launch.arguments.iter().map(|argument| words(argument, tape, starts)).collect(),
        };
        Ok(HostRecording(tape.launches.iter().map(call).collect()))
    }

    fn play(&mut self, recording: &HostRecording) -> Result<(), DeviceError> {
        type Kernel = unsafe extern "C" fn(*const c_int, c_int, c_int, *const *const c_void);
        for call in &recording.0 {
            let arguments: Vec<*const c_void> =
                call.arguments.iter().map(|words| words.as_ptr().cast::<c_void>()).collect();
            // SAFETY: `EXPORT` in the kernels declares the symbol so; the addresses are those of memory that lives as long
            // as the engine that recorded them.
            #[expect(unsafe_code, reason = "compiled kernels are called through pointers")]
            unsafe {
                let launch = self.library.get::<Kernel>(call.kernel.as_bytes());
                let launch = launch.map_err(|error| DeviceError(error.to_string()))?;
                let descending = c_int::from(self.order == Order::Descending);
                launch(call.grid.as_ptr(), call.threads, descending, arguments.as_ptr());
            }
        }
        Ok(())
    }
}
