{%- set known = var('event_types') | join("', '") -%}
select
    event_type,
    count(*) as events,
    min(event_time) as first_event_time,
    max(event_time) as last_event_time
from {{ ref('int_parsed_events') }}
where event_type not in ('{{ known }}')
group by event_type
