{{ fact('force_restart') }}
