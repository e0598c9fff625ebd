"""One file a kind of hardware; each exports BACKEND."""
