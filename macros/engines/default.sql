{# What an engine need not say: right on each that says nothing else. -#}
{% macro default__headrace_as_declared(column, landed) -%}
    {{ return(column.name) }}
{%- endmacro %}

{% macro default__headrace_now() -%}
    cast({{ dbt.current_timestamp() }} as {{ type_timestamptz() }})
{%- endmacro %}

{% macro default__headrace_total(column) -%}
    cast(sum({{ column }}) as {{ warehouse_type('bigint') }})
{%- endmacro %}

{% macro default__headrace_rows_ordered_by(column) -%}{%- endmacro %}

{% macro default__headrace_layout(day, filter_by, join_by, data_type) -%}
    {{ return({}) }}
{%- endmacro %}

{% macro default__headrace_managed_events_table() -%}
    {{ return('events') }}
{%- endmacro %}

{% macro default__headrace_batch_rows(alias, relation, batch_key) -%}
    {{ batch_days(alias ~ '.event_time') }}
{%- endmacro %}

{% macro default__headrace_delete_rows(rows, day) -%}
    delete {{ rows }}
{%- endmacro %}

{% macro default__headrace_json_texts(column, paths) -%}
    {{ column }}
{%- endmacro %}

{% macro default__headrace_json_texts_item(texts, paths, path) -%}
    {{ json_text(texts, path) }}
{%- endmacro %}


{# What each engine has to say in a file of its own. -#}
{% macro not_supported(macro_name) -%}
    {%- do exceptions.raise_compiler_error(
        macro_name ~ ' is not supported on ' ~ adapter.type() ~ '; write ' ~ adapter.type() ~ '__' ~ macro_name
        ~ ' in macros/engines/' ~ adapter.type() ~ '.sql'
    ) -%}
{%- endmacro %}

{% macro default__headrace_warehouse_types() -%}
    {{ headrace.not_supported('headrace_warehouse_types') }}
{%- endmacro %}

{% macro default__headrace_utc_day(column) -%}
    {{ headrace.not_supported('headrace_utc_day') }}
{%- endmacro %}

{% macro default__headrace_local_day(column) -%}
    {{ headrace.not_supported('headrace_local_day') }}
{%- endmacro %}

{% macro default__headrace_period_start(column, period) -%}
    {{ headrace.not_supported('headrace_period_start') }}
{%- endmacro %}

{% macro default__headrace_elapsed(start, end, unit) -%}
    {{ headrace.not_supported('headrace_elapsed') }}
{%- endmacro %}

{% macro default__headrace_percentile(column, fraction) -%}
    {{ headrace.not_supported('headrace_percentile') }}
{%- endmacro %}

{% macro default__headrace_parse_json(text) -%}
    {{ headrace.not_supported('headrace_parse_json') }}
{%- endmacro %}

{% macro default__headrace_try_parse_json(text) -%}
    {{ headrace.not_supported('headrace_try_parse_json') }}
{%- endmacro %}

{% macro default__headrace_json_text(column, path) -%}
    {{ headrace.not_supported('headrace_json_text') }}
{%- endmacro %}

{% macro default__headrace_json_object(column, path) -%}
    {{ headrace.not_supported('headrace_json_object') }}
{%- endmacro %}

{% macro default__headrace_try_cast(text, data_type) -%}
    {{ headrace.not_supported('headrace_try_cast') }}
{%- endmacro %}

{% macro default__headrace_rounded(text) -%}
    {{ headrace.not_supported('headrace_rounded') }}
{%- endmacro %}

{% macro default__headrace_matches(text, pattern) -%}
    {{ headrace.not_supported('headrace_matches') }}
{%- endmacro %}

{% macro default__headrace_time_without_offset(text) -%}
    {{ headrace.not_supported('headrace_time_without_offset') }}
{%- endmacro %}

{% macro default__headrace_time_with_offset(text) -%}
    {{ headrace.not_supported('headrace_time_with_offset') }}
{%- endmacro %}

{% macro default__headrace_regexp_replace_all(text, pattern, by) -%}
    {{ headrace.not_supported('headrace_regexp_replace_all') }}
{%- endmacro %}

{% macro default__headrace_json_items(column) -%}
    {{ headrace.not_supported('headrace_json_items') }}
{%- endmacro %}

{% macro default__headrace_json_item() -%}
    {{ headrace.not_supported('headrace_json_item') }}
{%- endmacro %}
