"""The networks, one file a family, and the functions that belong to them."""

from aecourse.models.base import Autoencoder, count_parameters, require_batch
from aecourse.models.convolutional import (
    ConvolutionalAutoencoder,
    DigitClassifier,
    conv_output_size,
    convolutional_encoder,
    receptive_field,
    transposed_output_size,
)
from aecourse.models.dense import DenseAutoencoder, LinearAutoencoder, SparseAutoencoder, linear_denoiser
from aecourse.models.prior import attention, causal_mask, next_code, shift
from aecourse.models.quantized import (
    VQVAE,
    EMAQuantizer,
    VectorQuantizer,
    finite_scalar,
    nearest_code,
    straight_through,
)
from aecourse.models.upsampling import icnr_, pixel_shuffle, resize_convolution, upsample_nearest
from aecourse.models.variational import (
    ConditionalVAE,
    ConvolutionalVAE,
    DenseVAE,
    VariationalAutoencoder,
    reparameterize,
)
