//! Steps of optimisers, and gradients kept small.

use lamina_kernels::optimizer::{Common, Method, Slot, clip_norm, clip_value, step};

const COMMON: Common = Common { lr: 0.1, weight_decay: 0.0, maximize: false };

#[test]
fn every_element_of_every_slot_moves_once() {
    let lens = [0, 1, 17, 16_379, 49_153];
    let mut params: Vec<Vec<f32>> = lens.iter().map(|&n| vec![1.0; n]).collect();
    let grads: Vec<Vec<f32>> = lens.iter().map(|&n| vec![2.0; n]).collect();
    let slots = params.iter_mut().zip(&grads);
    let slots =
        slots.map(|(param, grad)| Slot { param, grad, state: vec![], step: 1, product: 1.0 });
    let method = Method::Sgd { momentum: 0.0, dampening: 0.0, nesterov: false };
    step(method, &COMMON, slots.collect()).unwrap();
    assert!(params.iter().flatten().all(|&p| p == 0.8));
}

#[test]
fn the_first_step_of_adam_is_the_rate() {
    let (mut p, mut m, mut v) = ([3.0f64], [0.0], [0.0]);
    let slot =
        Slot { param: &mut p, grad: &[-7.0], state: vec![&mut m, &mut v], step: 1, product: 1.0 };
    let method =
        Method::Adam { beta1: 0.9, beta2: 0.999, eps: 0.0, amsgrad: false, decoupled: true };
    step(method, &COMMON, vec![slot]).unwrap();
    assert!((p[0] - 3.1).abs() < 1e-12);
}

#[test]
fn missing_state_is_an_error() {
    let slot =
        Slot { param: &mut [1.0f32][..], grad: &[1.0], state: vec![], step: 1, product: 1.0 };
    let method = Method::Adadelta { rho: 0.9, eps: 1e-6 };
    let error = step(method, &COMMON, vec![slot]).unwrap_err();
    assert_eq!(error.to_string(), "[optimizer_step] state: expected 2 arrays, got 0");
}

#[test]
fn the_norm_is_over_all_gradients() {
    let (mut a, mut b) = ([3.0f32; 1], [0.0f32, -4.0]);
    let norm = clip_norm(vec![&mut a[..], &mut b], 1.0, 2.0, true).unwrap();
    assert_eq!(norm, 5.0);
    assert!((a[0] - 0.6).abs() < 1e-6 && (b[1] + 0.8).abs() < 1e-6);
    assert_eq!(clip_norm(vec![&mut b], 9.0, f64::INFINITY, true).unwrap(), f64::from(-b[1]));
    assert_eq!(clip_norm(vec![&mut b], 9.0, 1.0, true).unwrap(), f64::from(-b[1]));
}

#[test]
fn what_is_not_finite_is_refused_or_kept() {
    for bad in [f64::NAN, f64::INFINITY] {
        for order in [1.0, 2.0, f64::INFINITY] {
            let mut a = [1.0, bad, 1.0];
            assert!(clip_norm(vec![&mut a[..]], 1.0, order, true).is_err());
            assert!(!clip_norm(vec![&mut a[..]], 1.0, order, false).unwrap().is_finite());
        }
    }
    let mut a = [f64::NAN, 7.0, -f64::INFINITY];
    clip_value(vec![&mut a[..]], 2.0).unwrap();
    assert!(a[0].is_nan() && a[1..] == [2.0, -2.0]);
}
