//! The tensors of a network, of whatever number of dimensions.

use burn::module::{Module, Param, ParamId};
use burn::tensor::{Device, Tensor, TensorData};
use delt_architectures::StateTensor;

use crate::error::NetworkError;

/// Gives the values of a tensor.
pub type Fill<'a> = dyn FnMut(&StateTensor) -> Result<Vec<f32>, NetworkError> + 'a;

/// A tensor by its number of dimensions.
#[derive(Module, Debug)]
pub enum Weights {
    /// Biases, scales, statistics.
    One(Param<Tensor<1>>),
    /// Matrices.
    Two(Param<Tensor<2>>),
    /// Values of whole images, tokens, embeddings.
    Three(Param<Tensor<3>>),
    /// Filters.
    Four(Param<Tensor<4>>),
}

/// Runs an expression with the parameter, whatever its dimensions.
macro_rules! with_param {
    ($weights:expr, $param:ident => $body:expr) => {
        match $weights {
            $crate::weights::Weights::One($param) => $body,
            $crate::weights::Weights::Two($param) => $body,
            $crate::weights::Weights::Three($param) => $body,
            $crate::weights::Weights::Four($param) => $body,
        }
    };
}

/// The values, of so many dimensions as the description says.
macro_rules! values {
    ($($name:ident $variant:ident $dimensions:literal)*) => {$(
        pub(crate) fn $name(&self) -> Tensor<$dimensions> {
            match self {
                Self::$variant(param) => param.val(),
                other => unreachable!("a tensor of {} dimensions, not {other:?}", $dimensions),
            }
        }
    )*};
}

impl Weights {
    /// Asks `fill` for the values.
    pub(crate) fn build(
        described: &StateTensor,
        device: &Device,
        fill: &mut Fill<'_>,
    ) -> Result<Self, NetworkError> {
        let values = fill(described)?;
        let (name, shape) = (described.name.clone(), described.shape.clone());
        if values.len() != described.count() {
            let (found, expected) = (values.len(), described.count());
            return Err(NetworkError::WrongLength { name, shape, found, expected });
        }
        let dimensions = shape.len();
        let data = TensorData::new(values, shape);
        Ok(match dimensions {
            1 => Self::One(param(described, data, device)),
            2 => Self::Two(param(described, data, device)),
            3 => Self::Three(param(described, data, device)),
            _ => Self::Four(param(described, data, device)),
        })
    }

    values! { one One 1  two Two 2  three Three 3  four Four 4 }

    pub(crate) fn id(&self) -> ParamId {
        with_param!(self, param => param.id)
    }

    /// As one row outside any graph.
    pub(crate) fn row(&self) -> Tensor<1> {
        with_param!(self, param => {
            let tensor = param.val().inner();
            let count = tensor.dims().iter().product::<usize>();
            tensor.reshape([count])
        })
    }

    /// Moved to kept · own + taken · other, which is one row.
    pub(crate) fn moved(self, other: Tensor<1>, kept: f64, taken: f64) -> Self {
        match self {
            Self::One(param) => Self::One(moved(param, other, kept, taken)),
            Self::Two(param) => Self::Two(moved(param, other, kept, taken)),
            Self::Three(param) => Self::Three(moved(param, other, kept, taken)),
            Self::Four(param) => Self::Four(moved(param, other, kept, taken)),
        }
    }
}

/// A parameter whose id follows from its name, so that optimizer records written by one process fit the next.
fn param<const D: usize>(described: &StateTensor, data: TensorData, device: &Device) -> Param<Tensor<D>> {
    let id = ParamId::from(fnv1a64(described.name.as_bytes()));
    Param::initialized(id, Tensor::from_data(data, device)).set_require_grad(described.is_trained)
}

fn moved<const D: usize>(
    param: Param<Tensor<D>>,
    other: Tensor<1>,
    kept: f64,
    taken: f64,
) -> Param<Tensor<D>> {
    param.map(|own| {
        let is_autodiff = own.is_autodiff();
        let own = own.inner();
        let shape = own.dims();
        let moved = own * kept + other.reshape(shape) * taken;
        if is_autodiff { moved.autodiff() } else { moved }
    })
}

/// The 64-bit FNV-1a hash.
fn fnv1a64(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_is_fnv1a() {
        // published test vectors of FNV-1a
        assert_eq!(fnv1a64(b""), 0xcbf2_9ce4_8422_2325);
        assert_eq!(fnv1a64(b"foobar"), 0x8594_4171_f739_67e8);
    }
}
