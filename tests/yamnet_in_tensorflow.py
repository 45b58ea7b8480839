"""YAMNet in TensorFlow, written as Keras' HDF5 file and as a SavedModel, and what TensorFlow makes of some sounds.

A program, for TensorFlow shares no process with PyTorch: python tests/yamnet_in_tensorflow.py FOLDER, which holds
the weights as folded.npz. The front end is tf.signal's, the layers have the published model's names.
"""

import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import tensorflow as tf
import tf_keras as keras
from tf_keras import layers

WIDTHS = (64, 128, 128, 256, 256, 512, 512, 512, 512, 512, 512, 1024, 1024)


def patches(waveform: tf.Tensor) -> tf.Tensor:
    """[t] to [p, 96, 64]."""
    after = max(0, len(waveform) - 15600)
    whole = 15600 + int(np.ceil(after / 7680)) * 7680
    waveform = tf.pad(waveform, [[0, whole - len(waveform)]])
    spectrogram = tf.abs(tf.signal.stft(waveform, frame_length=400, frame_step=160, fft_length=512))
    mel = tf.signal.linear_to_mel_weight_matrix(64, 257, 16000, 125.0, 7500.0)
    return tf.signal.frame(tf.math.log(tf.matmul(spectrogram, mel) + 0.001), 96, 48, axis=0)


def model() -> keras.Model:
    """Patches [p, 96, 64] to scores and embeddings."""
    start = keras.Input((96, 64))
    x = layers.Reshape((96, 64, 1))(start)
    x = normed(layers.Conv2D(32, 3, strides=2, padding="same", use_bias=False, name="layer1/conv"), x)
    for n, width in enumerate(WIDTHS, start=2):
        stride = 2 if n in (3, 5, 7, 13) else 1
        name = f"layer{n}/depthwise_conv"
        x = normed(layers.DepthwiseConv2D(3, strides=stride, padding="same", use_bias=False, name=name), x)
        x = normed(layers.Conv2D(width, 1, padding="same", use_bias=False, name=f"layer{n}/pointwise_conv"), x)
    embeddings = layers.GlobalAveragePooling2D()(x)
    scores = layers.Activation("sigmoid")(layers.Dense(521)(embeddings))
    return keras.Model(start, [scores, embeddings])


def normed(convolution: layers.Layer, x: tf.Tensor) -> tf.Tensor:
    norm = layers.BatchNormalization(name=f"{convolution.name}/bn", scale=False, epsilon=1e-4)
    return layers.ReLU()(norm(convolution(x)))


def unfolded(folded: Mapping[str, np.ndarray], names: list[str]) -> list[np.ndarray]:
    """Keras' arrays from ours, 'layer1.conv.weight': norms put between that change nothing, none of them trivial."""
    rng, arrays = (
        np.random.default_rng(0),
        {"dense/kernel": folded["logits.weight"].T, "dense/bias": folded["logits.bias"]},
    )
    for name in (n.removesuffix(".bias") for n in folded if n.startswith("layer") and n.endswith(".bias")):
        kernel, bias, keras_name = folded[f"{name}.weight"], folded[f"{name}.bias"], name.replace(".", "/")
        mean, variance = rng.normal(size=bias.shape), rng.uniform(0.5, 2, size=bias.shape)
        kernel = kernel * np.sqrt(variance + 1e-4)[:, None, None, None]
        depthwise = "depthwise" in name
        arrays[f"{keras_name}/{'depthwise_' * depthwise}kernel"] = (
            kernel.transpose(2, 3, 0, 1) if depthwise else kernel.transpose(2, 3, 1, 0)
        )
        arrays |= {f"{keras_name}/bn/moving_mean": mean, f"{keras_name}/bn/moving_variance": variance}
        arrays[f"{keras_name}/bn/beta"] = bias + mean / np.sqrt(variance + 1e-4)
    return [arrays[name.split(":")[0]] for name in names]


class Module(tf.Module):  # type: ignore[misc]
    """As the published SavedModel is laid out."""

    def __init__(self, network: keras.Model) -> None:
        super().__init__()
        self._yamnet = network

    @tf.function(input_signature=[tf.TensorSpec([None, 96, 64], tf.float32)])  # type: ignore[untyped-decorator]
    def __call__(self, x: tf.Tensor) -> list[tf.Tensor]:
        return self._yamnet(x)


def sounds() -> dict[str, np.ndarray]:
    """Noise, a chirp, silence and a tone, of several lengths.

    Tone and chirp have faint noise: a pure tone leaves most bins to float32's rounding errors, and log to show them.
    """
    rng, t = np.random.default_rng(1), np.arange(15600) / 16000
    return {
        "short tone": 0.5 * np.sin(2 * np.pi * 440 * t[:3000]) + 0.001 * rng.normal(size=3000),
        "chirp": 0.5 * np.sin(2 * np.pi * (200 + 3000 * t) * t) + 0.001 * rng.normal(size=15600),
        "silence": np.zeros(16000),
        "noise": 0.1 * rng.normal(size=40000),
    }


def main(folder: Path) -> None:
    network = model()
    with np.load(folder / "folded.npz") as folded:
        network.set_weights(unfolded(folded, [w.name for w in network.weights]))
    network.save_weights(folder / "yamnet.h5")
    tf.saved_model.save(Module(network), str(folder / "saved"))
    answers: dict[str, np.ndarray] = {}
    for name, waveform in sounds().items():
        x = patches(tf.constant(waveform, tf.float32))
        scores, embeddings = network(x)
        answers |= {f"{name}/waveform": waveform.astype("f4"), f"{name}/patches": x.numpy()}
        answers |= {f"{name}/scores": scores.numpy(), f"{name}/embeddings": embeddings.numpy()}
    np.savez(folder / "answers.npz", **answers)  # type: ignore[arg-type]


if __name__ == "__main__":
    main(Path(sys.argv[1]))
