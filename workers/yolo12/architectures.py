"""The closed list of models: stock YOLO12 in its five sizes, and a smaller one for demos and tests.

Only names of this list reach Ultralytics, whose model files run code (`activation:` is evaluated).
"""

from __future__ import annotations

from typing import Any

PICO = "yolo12p"
PICO_SCALE = [0.25, 0.25, 512]  # depth, width, largest number of channels; YOLO12 allows no smaller width
MODEL = "model"
"""Name of the gene that decides the model, which is no training argument."""
MODELS = ("yolo12n", "yolo12s", "yolo12m", "yolo12l", "yolo12x", PICO)


def architecture(model: str) -> dict[str, Any]:
    """The Ultralytics model document of a name in `MODELS`."""
    from ultralytics.nn.tasks import yaml_model_load

    if model != PICO:
        return dict(yaml_model_load(f"{model}.yaml"))
    return dict(yaml_model_load("yolo12n.yaml")) | {"scale": "p", "scales": {"p": PICO_SCALE}}
