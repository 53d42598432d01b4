//! The server through its sockets: a client in the same process, on a free port.
