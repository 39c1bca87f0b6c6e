//! Two vectors as one: every step is taken for both before the next, so that neither waits long
//! for its own results and a constant is fetched once for both.

use super::{Vector, math};

/// Two vectors of `f32`, for functions of each number by itself. It may have more lanes than
/// `MAX_LANES`, so what goes through arrays of so many (`read_or`, bytes, moves of lanes) is not
/// for it.
#[derive(Debug, Clone, Copy)]
pub struct Pair<V>(V, V);

/// Methods that give a vector of what they give for either half.
macro_rules! halves {
    ($($name:ident($self:ident $(, $arg:ident)*);)*) => {
        $(#[inline(always)]
        fn $name($self $(, $arg: Self)*) -> Self {
            Self($self.0.$name($($arg.0),*), $self.1.$name($($arg.1),*))
        })*
    };
}

/// Comparisons, which give a mask for either half.
macro_rules! comparisons {
    ($($name:ident)*) => {
        $(#[inline(always)]
        fn $name(self, other: Self) -> Self::Mask {
            (self.0.$name(other.0), self.1.$name(other.1))
        })*
    };
}

impl<V: Vector<Elem = f32>> Vector for Pair<V> {
    type Elem = f32;
    type Mask = (V::Mask, V::Mask);
    type Pair = Self;
    const LANES: usize = 2 * V::LANES;
    const TILE_ROWS: usize = V::TILE_ROWS;
    const TILE_VECTORS: usize = 1;

    #[inline(always)]
    fn splat(x: f32) -> Self {
        Self(V::splat(x), V::splat(x))
    }
    #[inline(always)]
    unsafe fn load(source: *const f32) -> Self {
        Self(V::load(source), V::load(source.add(V::LANES)))
    }
    #[inline(always)]
    unsafe fn store(self, target: *mut f32) {
        self.0.store(target);
        self.1.store(target.add(V::LANES));
    }
    #[inline(always)]
    unsafe fn load_first(source: *const f32, count: usize) -> Self {
        let first = count.min(V::LANES);
        Self(
            V::load_first(source, first),
            V::load_first(source.wrapping_add(V::LANES), count - first),
        )
    }
    #[inline(always)]
    unsafe fn store_first(self, target: *mut f32, count: usize) {
        let first = count.min(V::LANES);
        self.0.store_first(target, first);
        self.1.store_first(target.wrapping_add(V::LANES), count - first);
    }

    halves! {
        add(self, other);
        sub(self, other);
        mul(self, other);
        div(self, other);
        neg_mul_add(self, b, c);
        min(self, other);
        max(self, other);
        abs(self);
        neg(self);
        sqrt(self);
        round(self);
        scale_by_power(self, n);
        scale_down(self, n);
    }
    comparisons! { lt le eq }

    #[inline(always)]
    fn mul_add(self, b: Self, c: Self) -> Self {
        let (first, second) = (self.0.mul_add(b.0, c.0), self.1.mul_add(b.1, c.1));
        let (first, second) = first.together(second);
        Self(first, second)
    }

    #[inline(always)]
    fn split_power(self) -> (Self, Self) {
        let (first, second) = (self.0.split_power(), self.1.split_power());
        (Self(first.0, second.0), Self(first.1, second.1))
    }
    #[inline(always)]
    fn select(mask: Self::Mask, yes: Self, no: Self) -> Self {
        Self(V::select(mask.0, yes.0, no.0), V::select(mask.1, yes.1, no.1))
    }
    #[inline(always)]
    fn zero_where(self, mask: Self::Mask) -> Self {
        Self(self.0.zero_where(mask.0), self.1.zero_where(mask.1))
    }
    #[inline(always)]
    fn sum(self) -> f32 {
        self.0.add(self.1).sum()
    }
    #[inline(always)]
    fn max_lane(self) -> f32 {
        self.0.max(self.1).max_lane()
    }
    math::functions!();
}
