"""The bus as a whole: simulated exchanges, collectors as processes, a real nats-server, consumers."""
