{{ per_event(['identifiers', 'events', 'current_page', 'current_element']) }}
