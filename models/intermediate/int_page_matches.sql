{{ config(materialized='view') }}

select
    value_id,
    definition_id,
    page
from {{ landed('definition_matches') }} as matches
where
    kind = 'page'
    and is_current
    and (
        definition_id is not null
        or page is not null
    )
