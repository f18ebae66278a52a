import pytest

from slotfill.masking import mask, without_homes


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("email: 'booking.7@example.com'", "email: 'bo***7@example.com'"),
        ('"phone":"+44 7700 900123"', "\"phone\":'***'"),
        ("called 07700900123 twice", "called ***23 twice"),
        ("customerName: 'Jane Doe',", "customerName: '***',"),
        ("postgres://app:hunter2@localhost:5432/db", "postgres://***:***@localhost:5432/db"),
        ('SUPABASE_SERVICE_ROLE_KEY="abc.def"', "SUPABASE_SERVICE_ROLE_KEY=***"),
        ("confirmationToken: 'f00'", "confirmationToken: ***"),
        ("Authorization: Bearer s3cret", "Authorization: Bearer ***"),
    ],
)
def test_customers_data_and_secrets_are_masked(text, masked):
    assert mask(text) == masked


@pytest.mark.parametrize(
    "text",
    [
        '[2025-11-15T10:30:21.554Z] [INFO] [submit] Booking created {"durationMs":20699}',
        "bookingId: 'fbf7053b-5e99-4e27-a187-fbfdf48220cd'",
        "slot-fill-2025-11-25-17-30-p2-20251115T104202Z-4aiqqz.log:12",
        "startAt: '2026-12-10T17:15:00', durations 20588 21885 31970",
        "name: 'AbortError'",
        "email: 'bo***7@example.com'",
    ],
)
def test_what_an_excerpt_is_for_stays(text):
    assert mask(text) == text


def test_homes_are_left_out_of_paths():
    assert (
        without_homes("at /Users/jane/app/run.ts and /home/joe/x and /homes/y")
        == "at ~/app/run.ts and ~/x and /homes/y"
    )
