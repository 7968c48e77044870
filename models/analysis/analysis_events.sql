{{ per_event(['identifiers', 'events']) }}
