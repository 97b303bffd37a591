// One field of a form: with its name, its help and what is wrong with it, tied together for those who hear the page. A
// parameter's field is drawn from what the plugin says of it.

import { cloneElement, type ComponentChild, isValidElement } from 'preact';
import { useId } from 'preact/hooks';
import type { ParamInfo, ParamValue } from '../api/wire';

interface FieldProps {
  label: string;
  help?: string | undefined;
  error?: string | undefined;
  children: ComponentChild;
}

export function Field({ label, help, error, children }: FieldProps) {
  const id = useId();
  const described = { id, 'aria-describedby': `${id}-help ${id}-error`, 'aria-invalid': error !== undefined };
  return (
    <div class={error ? 'field wrong' : 'field'}>
      <label for={id}>{label}</label>
      {isValidElement(children) ? cloneElement(children, described) : children}
      <p id={`${id}-help`} class="muted">
        {help}
      </p>
      <p id={`${id}-error`} class="problem">
        {error}
      </p>
    </div>
  );
}

interface ParameterProps {
  of: ParamInfo;
  now: ParamValue | undefined;
  error: string | undefined;
}

export function Parameter({ of, now, error }: ParameterProps) {
  const name = `param.${of.name}`;
  const value = now ?? of.default;
  if (of.kind === 'boolean') {
    return (
      <label class="check">
        <input name={name} type="checkbox" defaultChecked={value === true} />
        {of.name} <span class="muted">{of.help}</span>
      </label>
    );
  }
  return (
    <Field label={of.name} help={`${of.help} ${rule(of)}`} error={error}>
      {of.kind === 'choice' ? (
        <select name={name} defaultValue={String(value)}>
          {of.options?.map((option) => (
            <option key={option} selected={option === value}>
              {option}
            </option>
          ))}
        </select>
      ) : (
        <input
          name={name}
          type="number"
          required
          step={of.kind === 'integer' ? 1 : 'any'}
          min={of.min}
          max={of.max}
          defaultValue={String(value)}
        />
      )}
    </Field>
  );
}

/** From 1 to 10000, by default 20. */
function rule({ kind, min, max, default: value }: ParamInfo): string {
  const whole = kind === 'integer' ? 'A whole number' : 'A number';
  const range = min !== undefined && max !== undefined ? ` from ${min} to ${max}` : '';
  return kind === 'choice' ? `By default ${value}.` : `${whole}${range}, by default ${value}.`;
}
