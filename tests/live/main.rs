//! Tests against real services. Each is ignored unless the runner that starts the services asks for it.

mod cassandra;
