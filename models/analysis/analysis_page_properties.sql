{{ per_event(['event_key', 'page_properties']) }}
where page_properties is not null
