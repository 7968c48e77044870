{{ per_event(['event_key', 'element_properties']) }}
where element_properties is not null
