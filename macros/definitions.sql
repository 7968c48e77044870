{% macro definitions(kind, more_columns=[]) -%}
{%- set batch_loads = ref('batch_loads') -%}
{%- set columns = [
    'id', 'name', 'description', 'state', 'created_time', 'created_by', 'modified_time', 'modified_by'
] + more_columns -%}
{%- set lowest_time = timestamptz('0001-01-01 00:00:00') -%}

with ranked as (
    select
        landed_rows.*,
        row_number() over (
            partition by landed_rows.id
            order by
                landed_rows.modified_time desc nulls last,
                landed_rows._dlt_load_id desc,
                landed_rows._file desc,
                landed_rows._position desc
        ) as version_rank
    from {{ landed('raw_definitions') }} as landed_rows
    inner join {{ batch_loads }} as loads on landed_rows._dlt_load_id = loads.load_id
    where
        landed_rows.kind = '{{ kind }}'
        and {{ unless_skipped('landed_rows', ['_file']) }}
)

select
    {%- for column in columns %}
    ranked.{{ column }},
    {%- endfor %}
    {{ now() }} as updated_time
from ranked
{%- if is_incremental() %}
left join {{ this }} as existing on ranked.id = existing.id
{%- endif %}
where
    ranked.version_rank = 1
    {%- if is_incremental() %}
    and (
        existing.id is null
        or (
            coalesce(ranked.modified_time, {{ lowest_time }}) >= coalesce(existing.modified_time, {{ lowest_time }})
            and (
                {%- for column in columns[1:] %}
                {{ differs('ranked.' ~ column, 'existing.' ~ column) }}
                {%- if not loop.last %} or{% endif %}
                {%- endfor %}
            )
        )
    )
    {%- endif %}
{%- endmacro %}
