{{ per_event(['event_key', 'source_properties', 'current_page']) }}
