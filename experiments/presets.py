"""The published experiments by name: `python -m experiments.run --preset NAME`, one line of options each.

A preset is what differs from the defaults of `experiments.config.Config`. `--method NAME` alone runs the experiment of
the method's source, the first preset of that method here (center loss: the main job, one seed). The figures in README
are made by these names; the committed file of each is `experiments/results/NAME.json`.
"""

from __future__ import annotations

from typing import Any

from adjax.models.vgg16 import BLOCKS

SWEEP_LAMS = (0.0, 0.001, 0.01, 0.1, 1.0)
"""λ of the center-loss paper."""

_ONE_VS_REST: dict[str, Any] = {"dataset": "fashion_mnist", "protocol": "one_vs_rest", "lam": ()}
_ONE_CLASS: dict[str, Any] = {**_ONE_VS_REST, "threshold": "conformal", "quantile": 0.95}
_LABELLED: dict[str, Any] = {**_ONE_VS_REST, "threshold": "best_f1"}
_GAN_NETWORKS = "norm=batch", "compute=bfloat16", "width=32"
_GAN: dict[str, Any] = {
    **_LABELLED,
    "method": "gan",
    "model": "unet",
    "model_options": _GAN_NETWORKS,
    "method_options": _GAN_NETWORKS,
    # By validation on the hardest class. With Adam the paper's 0.5 for ABC, 0.5 and 1 for the adversarial terms learned
    # slower; width, length, and Muon at its rate: `experiments.validate_gan`.
    "hparams": ("learning_rate=0.002", "w_abc=3", "w_adversarial=0.1", "w_anomaly_adversarial=0.2"),
    "batch_size": 32,
    "epochs": 4,
    "shift_px": 0,
    "patience": 3,
}
_GAN_SHIRT: dict[str, Any] = {**_GAN, "normal": (6,), "seeds": 2, "flip_horizontal": True}
_AUTOENCODER: dict[str, Any] = {
    "method": "autoencoder",
    "model": "conv_autoencoder",
    "batch_size": 64,
    "learning_rate": 0.002,
    "shift_px": 0,
}
_COURSE: dict[str, Any] = {
    "learning_rate": 0.0001,
    "batch_size": 1,
    "shift_px": 0,
    "crop_px": 2,
    "flip_horizontal": True,
    "flip_vertical": True,
    "rotate": True,
}
"""What the GAN's course report says of its own training."""
_CNN: dict[str, Any] = {"model": "cnn", "learning_rate": 0.002, "weight_decay": 0.01, "flip_horizontal": True}
_ZERO: dict[str, Any] = {"dataset": "mnist", "protocol": "one_vs_rest", "normal": (0,), "lam": ()}
_ASSIGNMENT_CNN: dict[str, Any] = {
    **_ZERO,
    "method": "classifier",
    "model": "cnn",
    "protocol": "folds",
    "threshold": "half",
    "batch_size": 64,
    "learning_rate": 0.001,
    "weight_decay": 0.0,
    "shift_px": 0,
    "epochs": 10,
    "patience": 3,
}
"""What the assignment's report says of its network, and Keras's default rate. Nothing was chosen on any figure."""
_ASSIGNMENT_AUTOENCODER: dict[str, Any] = {
    **_ZERO,
    "method": "autoencoder",
    "protocol": "holdout_fraction",
    "counts": (5000, 500),
    "threshold": "conformal",
    "quantile": 0.95,
    "batch_size": 64,
    "learning_rate": 0.001,
    "shift_px": 0,
    "epochs": 10,
    "patience": 3,
    "seeds": 3,
}
"""The assignment's 4,500 normal images to train on, 500 and 500 anomalies to test on. A tenth of the 4,500 is held out,
and its mean error ends the training; the threshold of the row's F1 comes from the same images."""
_PLAIN = "gamma=1", "blur_px=0"
_MSE, _BCE = ("loss=mse", "score=mse", *_PLAIN), ("loss=bce", "score=bce", *_PLAIN)
_ONE_OR_SEVEN: dict[str, Any] = {"dataset": "mnist", "protocol": "one_vs_other", "normal": (1,), "anomalous": (7,)}
_GMM: dict[str, Any] = {**_ONE_OR_SEVEN, "lam": (), "scorer": "gmm", "threshold": "mean_sigma"}

_IMAGENET30: dict[str, Any] = {
    "dataset": "imagenet30",
    "model": "efficientnet_b0",
    "method_options": ("optimizer=adamw",),
    "learning_rate": 0.003,
    "batch_size": 64,
    "epochs": 20,
}
"""A third of its classes is normal. Pre-trained weights are the user's own file: `--weights FILE`."""

_OOD_HEAD: dict[str, Any] = {
    "method": "ood_head",
    "seeds": 3,
    "epochs": 10,
    "lam": (0.0,),
    "hparams": ("head_learning_rate=0.003",),
    "threshold": "logit",
    "also": ("photographs", "made"),
}

PRESETS: dict[str, dict[str, Any]] = {
    "centerloss": {},
    "centerloss_mnist": {"seeds": 5},
    "centerloss_mnist_zero": {"ood": "holdout:0", "seeds": 5},
    "centerloss_sweep": {"scorer": "mahalanobis", "lam": SWEEP_LAMS, "seeds": 3},
    "centerloss_sweep_zero": {"scorer": "mahalanobis", "ood": "holdout:0", "lam": SWEEP_LAMS, "seeds": 3},
    "scorers_mnist": {"seeds": 5, "scorers": ("all",)},
    "scorers_digits": {"dataset": "digits", "seeds": 3, "scorers": ("all",)},
    "ood_head_mnist": _OOD_HEAD,
    "ood_head_sweep": {**_OOD_HEAD, "lam": SWEEP_LAMS, "also": ()},
    "ood_head_sweep_zero": {**_OOD_HEAD, "ood": "holdout:0", "lam": SWEEP_LAMS, "also": ()},
    "random_fashion_mnist": {**_ONE_CLASS, "method": "random", "seeds": 5},
    "autoencoder_fashion_mnist": {**_ONE_CLASS, **_AUTOENCODER, "epochs": 15},
    "autoencoder_course": {
        **_ONE_CLASS,
        **_COURSE,
        "method": "autoencoder",
        "model": "conv_autoencoder",
        "model_options": ("latent=none",),
        "method_options": _MSE,
        "epochs": 15,
    },
    "autoencoder_mnist_zero": {**_ZERO, **_AUTOENCODER, "threshold": "conformal", "epochs": 20, "seeds": 3},
    "autoencoder_assignment_conv_mse": {
        **_ASSIGNMENT_AUTOENCODER,
        "model": "conv_autoencoder",
        "method_options": _MSE,
    },
    "autoencoder_assignment_conv_bce": {
        **_ASSIGNMENT_AUTOENCODER,
        "model": "conv_autoencoder",
        "method_options": _BCE,
    },
    "autoencoder_assignment_deep_mse": {
        **_ASSIGNMENT_AUTOENCODER,
        "model": "deep_autoencoder",
        "method_options": _MSE,
    },
    "autoencoder_assignment_deep_bce": {
        **_ASSIGNMENT_AUTOENCODER,
        "model": "deep_autoencoder",
        "method_options": _BCE,
    },
    "gan_fashion_mnist": {**_GAN, "seeds": 3, "flip_horizontal": True},
    "gan_mnist": {**_GAN, "seeds": 3, "dataset": "mnist"},
    "gan_bfloat16": _GAN_SHIRT,
    "gan_float32": {**_GAN_SHIRT, "model_options": _GAN_NETWORKS[::2], "method_options": _GAN_NETWORKS[::2]},
    "gan_adam": {
        **_GAN_SHIRT,
        "method_options": (*_GAN_NETWORKS, "optimizer=adam"),
        "hparams": ("learning_rate=0.001", *_GAN["hparams"][1:]),
    },
    "gan_random_sampling": {**_GAN_SHIRT, "clusters": 1},
    "gan_course_shirt": {
        **_LABELLED,
        **_COURSE,
        "method": "gan",
        "method_options": ("optimizer=adam",),
        "model": "unet",
        "normal": (6,),
        "epochs": 7,
    },
    "classifier_fashion_mnist": {**_LABELLED, **_CNN, "method": "classifier", "epochs": 8, "patience": 3},
    "classifier_mnist_zero": {
        "method": "classifier",
        "model": "cnn",
        "dataset": "mnist",
        "protocol": "folds",
        "normal": (0,),
        "threshold": "logit",
        "lam": (),
        "batch_size": 64,
        # Chosen on MNIST's official test images, none of which is in a fold.
        "epochs": 30,
        "shift_px": 2,
        "crop_px": 2,
        "rotation_deg": 15.0,
        "elastic_px": 1.0,
        "weight_decay": 0.1,
        "method_options": ("networks=3",),
    },
    "classifier_assignment": _ASSIGNMENT_CNN,
    "classifier_assignment_pool1": {**_ASSIGNMENT_CNN, "model_options": ("pool2=1",)},
    "classifier_assignment_three": {**_ASSIGNMENT_CNN, "method_options": ("networks=3",)},
    "regressor_fashion_mnist": {**_LABELLED, **_CNN, "method": "regressor", "epochs": 8, "patience": 3},
    "hog_ocsvm_fashion_mnist": {
        **_ONE_CLASS,
        "method": "hog_ocsvm",
        "model": "hog",
        "model_options": ("cell_px=4", "block_cells=2", "orientations=4"),
        "scorer_options": ("nu=0.1", "gamma=0.5"),
    },
    "deep_svdd_fashion_mnist": {
        **_ONE_CLASS,
        "method": "deep_svdd",
        "model": "svdd_lenet",
        "model_options": ("width=8",),
        "shift_px": 0,
        "epochs": 8,
    },
    "gmm_pretrained_mnist_1v7": {
        **_GMM,
        "method": "gmm",
        "model": "efficientnet_lite0",
        "model_options": ("side_px=96",),
        "scorer_options": ("shrinkage=0.01",),
    },
    **{
        f"gmm_vgg16_block{block}": {
            **_GMM,
            "method": "gmm",
            "model": "vgg16",
            "model_options": (f"layer=block{block}_conv{convolutions}", "side_px=32"),
        }
        for block, (convolutions, _) in enumerate(BLOCKS, 1)
    },  # the source names no layer; weights are the user's own file: `--weights FILE`
    "gmm_autoencoder_mnist_1v7": {
        **_GMM,
        **_AUTOENCODER,
        "model": "deep_autoencoder",
        "model_options": ("latent=32",),
        "epochs": 20,
        "seeds": 3,
    },
    "imagenet30_a": {**_IMAGENET30, "ood": "holdout:10-29"},
    "imagenet30_b": {**_IMAGENET30, "ood": "holdout:0-9,20-29"},
    "imagenet30_c": {**_IMAGENET30, "ood": "holdout:0-19"},
    "imagenet30_a_b": {**_IMAGENET30, "ood": "holdout:10-19/0-9"},
    "imagenet30_b_c": {**_IMAGENET30, "ood": "holdout:20-29/10-19"},
    "imagenet30_c_a": {**_IMAGENET30, "ood": "holdout:0-9/20-29"},
}
"""Name -> options. A new experiment is one entry."""
