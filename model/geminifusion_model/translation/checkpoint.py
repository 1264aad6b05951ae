"""The checkpoint of a translator: the common format, with a generator's configuration and a translation task."""

from __future__ import annotations

from geminifusion_model.checkpoint import CheckpointKind, InfoOfKind
from geminifusion_model.translation.config import KIND, TranslatorConfig
from geminifusion_model.translation.task import TranslationTask

TranslatorInfo = InfoOfKind[TranslatorConfig, TranslationTask]

_KIND = CheckpointKind(KIND, TranslatorConfig, TranslationTask)
write_translator = _KIND.write
read_translator = _KIND.read
