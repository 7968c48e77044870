{{ per_event(['event_key', 'source_properties']) }}
