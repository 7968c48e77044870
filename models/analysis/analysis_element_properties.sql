{{ per_event(['element_properties']) }}
where element_properties is not null
