//! Socket.IO, protocol 5, over Engine.IO's messages.
