"""Self-supervision on the fibers of an equivariant network, with a certificate that it is one."""
