"""The checkpoint of a translator: the common format, with a generator's configuration and a translation task."""

from __future__ import annotations

from geminifusion_model.checkpoint import CheckpointKind, InfoOfKind
from geminifusion_model.translation.config import TranslatorConfig
from geminifusion_model.translation.task import TranslationTask
from geminifusion_runtime.task_names import TRANSLATION

TranslatorInfo = InfoOfKind[TranslatorConfig, TranslationTask]

_KIND = CheckpointKind(TRANSLATION, TranslatorConfig, TranslationTask)
write_translator = _KIND.write
read_translator = _KIND.read
