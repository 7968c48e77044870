{{ per_event(['source_properties']) }}
