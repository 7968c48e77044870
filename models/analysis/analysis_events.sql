{{ per_event(['events']) }}
