"""The files of a Whisper model in CTranslate2's format."""

MODEL_FILES = ("config.json", "model.bin", "tokenizer.json", "vocabulary.json")
