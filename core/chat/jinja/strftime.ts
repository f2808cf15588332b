const days = ['Sunday', 'Monday', 'Tuesday', 'Wednesday', 'Thursday', 'Friday', 'Saturday'] as const;
const months = [
  'January',
  'February',
  'March',
  'April',
  'May',
  'June',
  'July',
  'August',
  'September',
  'October',
  'November',
  'December',
] as const;

const two = (value: number, fill = '0'): string => String(value).padStart(2, fill);

/** Python's strftime in the C locale, in the machine's time zone. A directive it does not know stays as it is. */
export function strftime(date: Date, format: string): string {
  return format.replace(/%(-?)([a-zA-Z%])/g, (all, minus, directive) => {
    const text = field(date, directive);
    if (text === null) return all;
    return minus === '-' ? text.replace(/^[0 ]+(?=.)/, '') : text;
  });
}

function field(date: Date, directive: string): string | null {
  const [day, month, hour] = [date.getDate(), date.getMonth(), date.getHours()];
  const clock = `${two(hour)}:${two(date.getMinutes())}`;
  switch (directive) {
    case 'Y':
      return String(date.getFullYear());
    case 'y':
      return two(date.getFullYear() % 100);
    case 'm':
      return two(month + 1);
    case 'd':
      return two(day);
    case 'e':
      return two(day, ' ');
    case 'B':
      return months[month] ?? '';
    case 'b':
    case 'h':
      return (months[month] ?? '').slice(0, 3);
    case 'A':
      return days[date.getDay()] ?? '';
    case 'a':
      return (days[date.getDay()] ?? '').slice(0, 3);
    case 'w':
      return String(date.getDay());
    case 'u':
      return String(date.getDay() || 7);
    case 'j':
      return String(dayOfYear(date)).padStart(3, '0');
    case 'H':
      return two(hour);
    case 'I':
      return two(hour % 12 || 12);
    case 'p':
      return hour < 12 ? 'AM' : 'PM';
    case 'M':
      return two(date.getMinutes());
    case 'S':
      return two(date.getSeconds());
    case 'f':
      return String(date.getMilliseconds() * 1000).padStart(6, '0');
    case 'F':
      return `${date.getFullYear()}-${two(month + 1)}-${two(day)}`;
    case 'T':
      return `${clock}:${two(date.getSeconds())}`;
    case 'R':
      return clock;
    case 'D':
    case 'x':
      return `${two(month + 1)}/${two(day)}/${two(date.getFullYear() % 100)}`;
    case '%':
      return '%';
    default:
      return null;
  }
}

function dayOfYear(date: Date): number {
  const start = Date.UTC(date.getFullYear(), 0, 1);
  return Math.round((Date.UTC(date.getFullYear(), date.getMonth(), date.getDate()) - start) / 86_400_000) + 1;
}
