//! Which tile a product is cut into.

use crate::Element;
use crate::simd::{Level, MAX_LANES, is_intel, isa};

/// Vectors in a row of the product from which on one that is left over hardly matters. Panels of four
/// vectors do not stay in the first cache.
const MANY: usize = 16;

/// Height and width of a tile, the vector that the width is a multiple of, and the rows of the
/// right matrix in a block, of which a panel stays in the nearest caches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TileShape {
    pub(super) rows: usize,
    pub(super) columns: usize,
    pub(super) lanes: usize,
    pub(super) depth: usize,
    /// Columns of the product up to which a transposed left matrix is read where it lies, a few
    /// numbers of each line.
    pub(super) reads_lines_to: usize,
}

/// Whether tiles one vector wide do half of what wide ones do: Intel's processors read little more
/// than one register of this length a cycle, and such a tile reads one for each product.
pub(super) fn is_narrow_slow<T: Element>() -> bool {
    is_intel() && isa() == Level::Avx512 && size_of::<T>() == 4
}

/// The tile of a product of `columns` columns, for the instruction set and the processor in use.
pub(super) fn tile_shape<T: Element>(columns: usize) -> TileShape {
    let [usual, three, four] = tile_shapes::<T>();
    let vectors = columns.div_ceil(usual.lanes);
    if !is_narrow_slow::<T>() || vectors <= 2 {
        return usual;
    }
    // Intel's processors do an eighth more with wide tiles, which read less for each product, and
    // half with a last vector alone, which matters where there are few.
    match (vectors % 3, vectors % 4) {
        (0 | 2, 1..) | (0, 0) | (1, 1) => three,
        _ if vectors > MANY => three,
        _ => four,
    }
}

/// The usual tile of the instruction set in use, which is what the vectors' constants say, and tiles
/// of three and four vectors where there are registers for their sums.
pub(super) fn tile_shapes<T: Element>() -> [TileShape; 3] {
    let single = size_of::<T>() == 4;
    let (rows, vectors, lanes) = match (isa(), single) {
        (Level::Avx512, true) => (14, 2, 16),
        (Level::Avx2 | Level::Neon, true) => (6, 2, 8),
        (Level::Portable, true) => (4, 1, 8),
        (Level::Avx512, false) => (6, 1, 8),
        (_, false) => (4, 1, 4),
    };
    let usual =
        TileShape { rows, columns: vectors * lanes, lanes, depth: 256, reads_lines_to: 768 };
    if lanes < MAX_LANES {
        return [usual; 3];
    }
    let wide = |rows, vectors| {
        let columns = vectors * lanes;
        TileShape { rows, columns, depth: 384, reads_lines_to: 192, ..usual }
    };
    [usual, wide(9, 3), wide(6, 4)]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simd::Vector;
    use crate::vectorized;

    vectorized! {
        fn constants<S, T: Element>() -> (usize, usize, usize) {
            (T::V::<S>::TILE_ROWS, T::V::<S>::TILE_VECTORS, T::V::<S>::LANES)
        }
    }

    #[test]
    fn the_usual_shape_agrees_with_the_vectors() {
        fn check<T: Element>() {
            let [shape, ..] = tile_shapes::<T>();
            let (rows, vectors, lanes) = constants::<T>();
            assert_eq!((shape.rows, shape.columns, shape.lanes), (rows, vectors * lanes, lanes));
        }
        check::<f32>();
        check::<f64>();
    }

    #[test]
    fn no_vector_is_left_alone_where_it_can_be_helped() {
        for vectors in 3..=MANY {
            let shape = tile_shape::<f32>(vectors * MAX_LANES);
            if shape.columns > 2 * MAX_LANES && vectors % 12 != 1 {
                assert_ne!(vectors * MAX_LANES % shape.columns, MAX_LANES, "{vectors} vectors");
            }
        }
    }
}
