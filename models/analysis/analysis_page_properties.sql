{{ per_event(['page_properties']) }}
where page_properties is not null
