"""The paper's claim on drawn faces: clean images show no gap, perturbed ones a wide one."""

import os

from vpsa_fair import perturb
from vpsa_fair.audit import Audit
from vpsa_fair.levels import linear, log
from vpsa_fair.synthetic import fisher_model, synthetic_faces
from vpsa_fair.verification import Verification

__all__ = ["demo_audit"]

PLANT = 5.5  # stops by which camera b is darker


def demo_audit(
    cache: str | os.PathLike[str] | None = None, *, plant: bool = True, identities: int = 96
) -> Audit:
    """An audit of a small recogniser on drawn faces, without any real person.

    Half of the faces come from a camera that takes in less light. The recogniser normalises its
    input and answers as well for both, until there is noise.

    Args:
        cache: folder of the embeddings; None keeps them in memory.
        plant: whether camera b is darker; without it the audit is its own control.
        identities: how many are audited; the recogniser learnt from others.

    Returns:
        The audit, ready to run.

    Source:
        Fair SA, abstract: disadvantages that are not visible without perturbations.
    """
    model = fisher_model(synthetic_faces(160, 4, seed=1))
    data = synthetic_faces(identities, 4, seed=0, plant=PLANT if plant else None)
    return Audit(
        embed=model,
        data=data,
        perturbations=[
            perturb.gaussian_noise(linear(15, 90, 6)),
            perturb.gaussian_blur(log(0.5, 6, 6)),
            perturb.exposure("up", linear(0.5, 3, 6)),
            perturb.occlusion(linear(0.02, 0.12, 6)),
            perturb.rotation(linear(3, 30, 6)),
        ],
        protocol=Verification(fmr=0.02),
        groups=["camera"],
        cache=cache,
        model="fisher",
    )
