-- The White Horse booking database: the tables and column names of the platform it stands in for.
-- It starts empty; the instrument's `db reset` and seeds put the venue in.

create type booking_status as enum (
    'pending', 'pending_allocation', 'confirmed', 'cancelled', 'completed', 'no_show', 'checked_in'
);

-- The venue ------------------------------------------------------------------------------------

create table restaurants (
    id uuid primary key default gen_random_uuid(),
    slug text not null unique,
    name text not null,
    timezone text not null default 'Europe/London',
    reservation_interval_minutes integer not null default 15 check (reservation_interval_minutes > 0),
    last_seating_buffer_minutes integer not null default 120 check (last_seating_buffer_minutes >= 0),
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now()
);

-- One row a weekday (0 = Sunday), or one row a date, which then wins over the weekday.
create table restaurant_operating_hours (
    id uuid primary key default gen_random_uuid(),
    restaurant_id uuid not null references restaurants (id) on delete cascade,
    day_of_week smallint check (day_of_week between 0 and 6),
    effective_date date,
    opens_at time,
    closes_at time,
    is_closed boolean not null default false,
    check ((day_of_week is null) <> (effective_date is null)),
    check (is_closed or (opens_at is not null and closes_at is not null and opens_at < closes_at))
);
create unique index on restaurant_operating_hours (restaurant_id, day_of_week) where effective_date is null;
create unique index on restaurant_operating_hours (restaurant_id, effective_date) where effective_date is not null;

-- When a booking type is served; no row for a type means whenever the house is open.
create table restaurant_service_periods (
    id uuid primary key default gen_random_uuid(),
    restaurant_id uuid not null references restaurants (id) on delete cascade,
    name text not null,
    day_of_week smallint check (day_of_week between 0 and 6),
    booking_option text not null check (booking_option in ('lunch', 'dinner', 'drinks')),
    start_time time not null,
    end_time time not null,
    check (start_time < end_time)
);
create index on restaurant_service_periods (restaurant_id);

create table zones (
    id uuid primary key default gen_random_uuid(),
    restaurant_id uuid not null references restaurants (id) on delete cascade,
    name text not null,
    sort_order integer not null default 0,
    area_type text not null default 'indoor' check (area_type in ('indoor', 'outdoor')),
    unique (restaurant_id, name)
);

create table table_inventory (
    id uuid primary key default gen_random_uuid(),
    restaurant_id uuid not null references restaurants (id) on delete cascade,
    table_number text not null,
    capacity integer not null check (capacity > 0),
    min_party_size integer not null default 1 check (min_party_size > 0),
    max_party_size integer check (max_party_size >= min_party_size),
    zone_id uuid not null references zones (id) on delete cascade,
    category text not null default 'dining',
    seating_type text not null default 'standard',
    mobility text not null default 'movable',
    status text not null default 'available',
    active boolean not null default true,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    unique (restaurant_id, table_number)
);
create index on table_inventory (zone_id);

-- Undirected: one row is enough for both directions.
create table table_adjacencies (
    table_a uuid not null references table_inventory (id) on delete cascade,
    table_b uuid not null references table_inventory (id) on delete cascade,
    primary key (table_a, table_b),
    check (table_a <> table_b)
);
create index on table_adjacencies (table_b);

create table allowed_capacities (
    restaurant_id uuid not null references restaurants (id) on delete cascade,
    capacity integer not null check (capacity > 0),
    primary key (restaurant_id, capacity)
);

-- What hangs from the venue and is no booking's. A user's account lies elsewhere, so no key points at it.

create table restaurant_memberships (
    user_id uuid not null,
    restaurant_id uuid not null references restaurants (id) on delete cascade,
    role text not null check (role in ('owner', 'manager', 'host', 'server')),
    created_at timestamptz not null default now(),
    primary key (user_id, restaurant_id)
);

create table restaurant_invites (
    id uuid primary key default gen_random_uuid(),
    restaurant_id uuid not null references restaurants (id) on delete cascade,
    email text not null,
    role text not null,
    created_at timestamptz not null default now()
);

create table loyalty_programs (
    id uuid primary key default gen_random_uuid(),
    restaurant_id uuid not null unique references restaurants (id) on delete cascade,
    name text not null,
    accrual_per_cover integer not null default 0 check (accrual_per_cover >= 0)
);

create table demand_profiles (
    id uuid primary key default gen_random_uuid(),
    restaurant_id uuid not null references restaurants (id) on delete cascade,
    day_of_week smallint not null check (day_of_week between 0 and 6),
    multiplier numeric not null default 1 check (multiplier > 0)
);

create table table_scarcity_metrics (
    id uuid primary key default gen_random_uuid(),
    restaurant_id uuid not null references restaurants (id) on delete cascade,
    table_id uuid not null references table_inventory (id) on delete cascade,
    scarcity_score numeric not null
);

-- Bookings -------------------------------------------------------------------------------------

create table customers (
    id uuid primary key default gen_random_uuid(),
    restaurant_id uuid not null references restaurants (id) on delete cascade,
    full_name text not null,
    email text not null,
    phone text not null,
    phone_normalized text generated always as (regexp_replace(phone, '\D', '', 'g')) stored,
    marketing_opt_in boolean not null default false,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    unique (restaurant_id, email),
    unique (restaurant_id, phone_normalized)
);

create table bookings (
    id uuid primary key default gen_random_uuid(),
    restaurant_id uuid not null references restaurants (id) on delete cascade,
    customer_id uuid not null references customers (id) on delete cascade,
    booking_date date not null,
    start_time time not null,
    end_time time not null,
    start_at timestamptz not null,
    end_at timestamptz not null,
    party_size integer not null check (party_size > 0),
    seating_preference text not null default 'any' check (seating_preference in ('any', 'indoor', 'outdoor')),
    status booking_status not null default 'pending',
    booking_type text not null check (booking_type in ('lunch', 'dinner', 'drinks')),
    reference text not null unique,
    idempotency_key text,
    source text not null default 'api',
    notes text,
    customer_name text not null,
    customer_email text not null,
    customer_phone text not null,
    marketing_opt_in boolean not null default false,
    confirmation_token text,
    auto_assign_last_result jsonb,
    checked_in_at timestamptz,
    checked_out_at timestamptz,
    cancelled_at timestamptz,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    check (start_at < end_at)
);
create index on bookings (restaurant_id, booking_date);
create index on bookings (customer_id);
create index on bookings (idempotency_key);

-- What makes a key book once: the second of two simultaneous posts fails on this primary key.
create table booking_idempotency_keys (
    restaurant_id uuid not null references restaurants (id) on delete cascade,
    idempotency_key text not null,
    booking_id uuid not null references bookings (id) on delete cascade,
    created_at timestamptz not null default now(),
    primary key (restaurant_id, idempotency_key)
);
create index on booking_idempotency_keys (booking_id);

create table booking_state_history (
    id bigint generated always as identity primary key,
    booking_id uuid not null references bookings (id) on delete cascade,
    from_status booking_status,
    to_status booking_status not null,
    changed_at timestamptz not null default clock_timestamp(),
    reason text,
    metadata jsonb not null default '{}'
);
create index on booking_state_history (booking_id);

-- Tables given to bookings ---------------------------------------------------------------------

-- A window on one table as one range: (table, instant) pairs sort by table first, so two such ranges
-- overlap exactly when the table is the same and the times overlap. That lets a plain GiST exclusion
-- forbid double booking without btree_gist.
create type table_instant as (table_id uuid, at timestamptz);
create type table_occupancy as range (subtype = table_instant);

create table booking_table_assignments (
    id uuid primary key default gen_random_uuid(),
    booking_id uuid not null references bookings (id) on delete cascade,
    table_id uuid not null references table_inventory (id) on delete cascade,
    start_at timestamptz not null,
    end_at timestamptz not null,
    assignment_window tstzrange,
    idempotency_key text,
    created_at timestamptz not null default now(),
    check (start_at < end_at),
    constraint booking_table_assignments_booking_table_key unique (booking_id, table_id),
    constraint booking_table_assignments_no_double_booking exclude using gist (
        table_occupancy(row(table_id, start_at)::table_instant, row(table_id, end_at)::table_instant) with &&
    )
);
create index on booking_table_assignments (table_id);
create index on booking_table_assignments using gist (tstzrange(start_at, end_at));

create table allocations (
    id uuid primary key default gen_random_uuid(),
    booking_id uuid not null references bookings (id) on delete cascade,
    restaurant_id uuid not null references restaurants (id) on delete cascade,
    resource_type text not null default 'table',
    resource_id uuid not null references table_inventory (id) on delete cascade,
    "window" tstzrange not null,
    created_at timestamptz not null default now(),
    unique (booking_id, resource_type, resource_id)
);
create index on allocations (resource_id);

create table table_holds (
    id uuid primary key default gen_random_uuid(),
    booking_id uuid not null references bookings (id) on delete cascade,
    restaurant_id uuid not null references restaurants (id) on delete cascade,
    start_at timestamptz not null,
    end_at timestamptz not null,
    expires_at timestamptz not null,
    created_at timestamptz not null default now(),
    check (start_at < end_at),
    check (expires_at >= end_at)
);
create index on table_holds (booking_id);

create table table_hold_members (
    hold_id uuid not null references table_holds (id) on delete cascade,
    table_id uuid not null references table_inventory (id) on delete cascade,
    primary key (hold_id, table_id)
);
create index on table_hold_members (table_id);

create table table_hold_windows (
    hold_id uuid not null references table_holds (id) on delete cascade,
    table_id uuid not null references table_inventory (id) on delete cascade,
    hold_window tstzrange not null,
    primary key (hold_id, table_id)
);
create index on table_hold_windows (table_id);

-- What happened --------------------------------------------------------------------------------

create table observability_events (
    id bigint generated always as identity primary key,
    source text not null,
    event_type text not null,
    severity text not null default 'info',
    restaurant_id uuid references restaurants (id) on delete cascade,
    booking_id uuid references bookings (id) on delete cascade,
    context jsonb not null default '{}',
    created_at timestamptz not null default clock_timestamp()
);
create index on observability_events (booking_id);

-- Who changed a booking, for the house's own eyes; it outlives what it speaks of.
create table audit_logs (
    id bigint generated always as identity primary key,
    table_name text not null,
    row_id uuid not null,
    action text not null,
    restaurant_id uuid,
    at timestamptz not null default clock_timestamp()
);

create function write_audit_log() returns trigger language plpgsql as $$
begin
    if tg_op = 'DELETE' then
        new := old;
    end if;
    insert into audit_logs (table_name, row_id, action, restaurant_id)
    values (tg_table_name, new.id, lower(tg_op), new.restaurant_id);
    return null;
end $$;

create trigger audit_bookings after insert or delete or update of status on bookings
for each row execute function write_audit_log();
