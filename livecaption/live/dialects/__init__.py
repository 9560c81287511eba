"""Wire formats: messages of one protocol <-> our types. Pure; one module for each protocol."""
