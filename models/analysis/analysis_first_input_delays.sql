{{ fact('first_input_delay') }}
