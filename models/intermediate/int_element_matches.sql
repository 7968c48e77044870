{{ config(materialized='view') }}

with ranked as (
    select
        value_id,
        page_definition_id,
        definition_id,
        match_rank,
        row_number() over (partition by value_id, page_definition_id order by match_rank, definition_id) as place,
        min(case when page_definition_id is null then match_rank end) over (partition by value_id) as rank_anywhere
    from {{ whole_matches() }} as matches
    where kind = 'element' and definition_id is not null
)

-- One that holds on a page alone says something there only where it is better than what holds anywhere.
select
    value_id,
    page_definition_id,
    definition_id
from ranked
where
    place = 1
    and (
        page_definition_id is null
        or rank_anywhere is null
        or match_rank < rank_anywhere
    )
