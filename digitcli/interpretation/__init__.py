"""Why a network decides as it does: attributions, activations and nearest training digits."""
