"""Convolution and pooling: one meaning, the lowering that is fast on the device it runs on.

`conv_general_dilated` has the signature and the values of `jax.lax.conv_general_dilated`, so it is what
`flax.nnx.Conv(conv_general_dilated=...)` takes. On accelerators it *is* XLA's convolution. On CPU XLA's
convolutions are slow for small images and few channels (and slower still inside a loop), so plain NHWC
convolutions become matmuls there:

* `tiled`: the output is cut into tiles of u×v pixels; each is one row of a matrix, the product of the pixels that it
  sees and a banded matrix made of the kernel. Tiles of one pixel are the usual `im2col`: least arithmetic, most
  copying, and few columns where channels are few. Larger tiles share their pixels and multiply by more zeros.
* `winograd`, for 3×3 kernels of stride 1 with many channels: 16 products where the definition has 36, for additions.
* `depthwise`, where every channel has a kernel of its own: kh·kw shifted slices, multiplied and added, no matmul.

`conv_transpose` is the transposed of a convolution, lowered likewise: one matmul, and sums where its patches overlap.
Both take `compute=jnp.bfloat16`: operands rounded, sums in float32, forwards and in both gradients. CPUs with matrix
units for it were measured 4 times as fast so.

Which of them, and which tile, follows from shapes alone (`adjax.nn._conv`). Whether at all is decided while
lowering (`jax.lax.platform_dependent`), never by asking which device is there: one traced, exported program serves
all platforms.
"""

from adjax.nn._conv import NHWC as NHWC
from adjax.nn._conv import conv_general_dilated as conv_general_dilated
from adjax.nn._lowerings import depthwise as depthwise
from adjax.nn._lowerings import tiled as tiled
from adjax.nn._lowerings import winograd as winograd
from adjax.nn._pool import max_pool_2x2 as max_pool_2x2
from adjax.nn._transpose import conv_transpose as conv_transpose
