{{ config(unique_key='id') }}

{{ definitions('page', ['fs_link_id', 'is_user_defined']) }}
